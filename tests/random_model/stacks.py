"""What CreateStack and UpdateStack may ask, what it is refused with, and what becomes of the stack."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

INVALID, NOT_PERMITTED = "InvalidParameterCombinationException", "OperationNotPermittedException"
VALIDATION = "ValidationException"
ENABLED_BY_DEFAULT = (
    "CLIPBOARD_COPY_FROM_LOCAL_DEVICE",
    "CLIPBOARD_COPY_TO_LOCAL_DEVICE",
    "FILE_UPLOAD",
    "FILE_DOWNLOAD",
    "PRINTING_TO_LOCAL_DEVICE",
    "DOMAIN_PASSWORD_SIGNIN",
)
DISABLED_BY_DEFAULT = ("DOMAIN_SMART_CARD_SIGNIN", "AUTO_TIME_ZONE_REDIRECTION", "SMART_CARD_REDIRECTION")
ACTIONS = (*ENABLED_BY_DEFAULT, *DISABLED_BY_DEFAULT)
LONGEST = 20_971_520
SHOWN = (
    *("DisplayName", "Description", "RedirectURL", "FeedbackURL", "EmbedHostDomains", "StreamingExperienceSettings"),
    *("UserSettings", "ApplicationSettings", "ContentRedirection", "StorageConnectors"),
)
# Member → the attribute that deletes it.
ATTRIBUTES = {
    "RedirectURL": "REDIRECT_URL",
    "FeedbackURL": "FEEDBACK_URL",
    "UserSettings": "USER_SETTINGS",
    "EmbedHostDomains": "EMBED_HOST_DOMAINS",
    "StreamingExperienceSettings": "STREAMING_EXPERIENCE_SETTINGS",
    "ContentRedirection": "CONTENT_REDIRECTION",
    "AccessEndpoints": "ACCESS_ENDPOINTS",
    "StorageConnectors": "STORAGE_CONNECTORS",
}
HOME_FOLDERS = "STORAGE_CONNECTOR_HOMEFOLDERS"
NOTHING_TO_DELETE = ("THEME_NAME", "IAM_ROLE_ARN", "STORAGE_CONNECTOR_GOOGLE_DRIVE", "STORAGE_CONNECTOR_ONE_DRIVE")


def user_settings(given: list[dict[str, Any]]) -> dict[str, int | None]:
    """Return the enabled actions of a full list, each with its MaximumLength or None."""
    said = {one["Action"]: one for one in given}
    enabled = [a for a in ACTIONS if said.get(a, {"Permission": _default(a)})["Permission"] == "ENABLED"]
    return {
        action: said.get(action, {}).get("MaximumLength", LONGEST) if action.startswith("CLIPBOARD") else None
        for action in enabled
    }


def _default(action: str) -> str:
    return "ENABLED" if action in ENABLED_BY_DEFAULT else "DISABLED"


DEFAULTS: dict[str, Any] = {
    "EmbedHostDomains": [],
    "StreamingExperienceSettings": {"PreferredProtocol": "TCP"},
    "UserSettings": user_settings([]),
    "ApplicationSettings": {"Enabled": False},
    "StorageConnectors": [],
}


@dataclass
class ModelStack:
    members: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS))
    tags: dict[str, str] = field(default_factory=dict)


def of_wire(stack: dict[str, Any]) -> dict[str, Any]:
    """Return what a stack is by DescribeStacks, in the model's terms. Every action is listed."""
    shown = {name: stack[name] for name in SHOWN if name in stack}
    assert {one["Action"] for one in stack["UserSettings"]} == set(ACTIONS)
    settings = {
        one["Action"]: one.get("MaximumLength") for one in stack["UserSettings"] if one["Permission"] == "ENABLED"
    }
    applications = {name: value for name, value in stack["ApplicationSettings"].items() if name != "S3BucketName"}
    connectors = [{"ConnectorType": one["ConnectorType"]} for one in stack["StorageConnectors"]]
    found = {"UserSettings": settings, "ApplicationSettings": applications, "StorageConnectors": connectors}
    return {**shown, **found}


def _setting(action: str, permission: str = "ENABLED", length: int | None = None) -> dict[str, Any]:
    return {"Action": action, "Permission": permission} | ({} if length is None else {"MaximumLength": length})


_settings = st.one_of(
    st.lists(
        st.builds(_setting, st.sampled_from(ACTIONS[:5]), st.sampled_from(("ENABLED", "DISABLED"))),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one["Action"],
    ),
    st.sampled_from(
        (
            [_setting(ACTIONS[0], length=1)],
            [_setting(ACTIONS[1], length=LONGEST)],
            [_setting(ACTIONS[1], length=LONGEST + 1)],
            [_setting(ACTIONS[0], "DISABLED", 5)],
            [_setting("FILE_UPLOAD", length=5)],
            [_setting("FILE_UPLOAD"), _setting("FILE_UPLOAD", "DISABLED")],
            [_setting("DOMAIN_PASSWORD_SIGNIN", "DISABLED")],
            [_setting("DOMAIN_SMART_CARD_SIGNIN")],
            [_setting("AUTO_TIME_ZONE_REDIRECTION")],
        )
    ),
)
# What is refused, with the codes that each value may have.
_REFUSED: tuple[tuple[str, Any, set[str]], ...] = (
    ("RedirectURL", "ftp://files.example.org", {INVALID}),
    ("FeedbackURL", "nowhere", {INVALID}),
    ("ApplicationSettings", {"Enabled": True}, {INVALID}),
    ("ApplicationSettings", {"Enabled": False, "SettingsGroup": "cad"}, {INVALID}),
    ("EmbedHostDomains", ["localhost"], {VALIDATION}),
    ("EmbedHostDomains", [], {VALIDATION}),
    ("StreamingExperienceSettings", {"PreferredProtocol": "ICMP"}, {VALIDATION}),
    ("StorageConnectors", [{"ConnectorType": "HOMEFOLDERS", "ResourceIdentifier": "arn:aws:s3:::mine"}], {INVALID}),
    ("StorageConnectors", [{"ConnectorType": "HOMEFOLDERS"}] * 2, {INVALID}),
    ("StorageConnectors", [{"ConnectorType": "GOOGLE_DRIVE", "Domains": ["example.org"]}], {NOT_PERMITTED}),
    ("StorageConnectors", [{"ConnectorType": "HOMEFOLDERS", "Domains": ["example.org"]}], {INVALID}),
    ("StorageConnectors", [{"ConnectorType": "ONE_DRIVE"}], {INVALID}),
    ("ContentRedirection", {"HostToClient": {"Enabled": True}}, {NOT_PERMITTED}),
    ("AccessEndpoints", [{"EndpointType": "STREAMING", "VpceId": "vpce-none"}], {NOT_PERMITTED}),
    ("AccessEndpoints", [{"EndpointType": "STREAMING"}], {INVALID}),
)
_LEGAL: tuple[tuple[str, st.SearchStrategy[Any]], ...] = (
    ("DisplayName", st.sampled_from(("One", "Two"))),
    ("Description", st.sampled_from(("once", "twice"))),
    ("RedirectURL", st.sampled_from(("https://after.example.org/", "http://x.example.org:8080/a?b=c"))),
    ("FeedbackURL", st.just("https://tell.example.org/")),
    ("UserSettings", _settings),
    ("UserSettings", _settings),
    ("ApplicationSettings", st.sampled_from(({"Enabled": True, "SettingsGroup": "cad"}, {"Enabled": False}))),
    ("EmbedHostDomains", st.sampled_from((["a.example.org"], ["b.example.org", "c.example.org"]))),
    ("StreamingExperienceSettings", st.sampled_from(({"PreferredProtocol": "UDP"}, {"PreferredProtocol": "TCP"}))),
    ("ContentRedirection", st.just({"HostToClient": {"Enabled": False}})),
    ("StorageConnectors", st.sampled_from(([{"ConnectorType": "HOMEFOLDERS"}], []))),
)
_one = st.one_of(
    *(values.map(lambda value, name=name: (name, value)) for name, values in (*_LEGAL, *_LEGAL)),
    st.sampled_from(_REFUSED).map(lambda row: row[:2]),
)
new_stacks = st.lists(_one, max_size=3, unique_by=lambda pair: pair[0]).map(dict)
_deletions = st.lists(st.sampled_from((*ATTRIBUTES.values(), HOME_FOLDERS, *NOTHING_TO_DELETE)), min_size=1, max_size=3)
stack_changes = st.builds(
    lambda members, more: {**members, **more},
    new_stacks,
    st.one_of(
        st.just({}),
        _deletions.map(lambda deleted: {"AttributesToDelete": deleted}),
        st.just({"DeleteStorageConnectors": True}),
    ),
)


def changed(stack: ModelStack, given: dict[str, Any]) -> tuple[ModelStack | None, set[str]]:
    """Return what the members make of a stack, or the codes that they may be refused with."""
    codes = {code for name, value, found in _REFUSED if given.get(name) == value for code in found}
    codes |= _settings_codes(given.get("UserSettings", ()))
    deleted = given.get("AttributesToDelete", ())
    members = dict(stack.members)
    for member, attribute in ATTRIBUTES.items():
        if attribute not in deleted:
            continue
        if member in given and (member != "StorageConnectors" or given[member]):
            codes.add(INVALID)
        members.pop(member, None)
        if member in DEFAULTS:
            members[member] = DEFAULTS[member]
    if HOME_FOLDERS in deleted or given.get("DeleteStorageConnectors"):
        members["StorageConnectors"] = []
        kinds = {one["ConnectorType"] for one in given.get("StorageConnectors", ())}
        if "HOMEFOLDERS" in kinds or (kinds and given.get("DeleteStorageConnectors")):
            codes.add(INVALID)
    for kind in ("GOOGLE_DRIVE", "ONE_DRIVE"):
        connectors = given.get("StorageConnectors", ())
        if f"STORAGE_CONNECTOR_{kind}" in deleted and any(one["ConnectorType"] == kind for one in connectors):
            codes.add(INVALID)
    members |= {name: given[name] for name in SHOWN if name in given}
    if "UserSettings" in given:
        members["UserSettings"] = user_settings(given["UserSettings"])
    return (None, codes) if codes else (ModelStack(members, dict(stack.tags)), set())


def _settings_codes(given: Any) -> set[str]:
    codes = set()
    names = [one["Action"] for one in given]
    if len(set(names)) < len(names):
        codes.add(INVALID)
    for one in given:
        length, is_enabled = one.get("MaximumLength"), one["Permission"] == "ENABLED"
        if length is not None and (
            not one["Action"].startswith("CLIPBOARD") or not is_enabled or not 1 <= length <= LONGEST
        ):
            codes |= {INVALID, VALIDATION}
        if one["Action"] in ("DOMAIN_SMART_CARD_SIGNIN", "SMART_CARD_REDIRECTION") and is_enabled:
            codes.add(NOT_PERMITTED)
        if one["Action"] == "DOMAIN_PASSWORD_SIGNIN" and not is_enabled:
            codes.add(INVALID)
    return codes
