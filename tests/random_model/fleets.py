"""What CreateFleet and UpdateFleet may ask, what it is refused with, and what becomes of the fleet.

A request that breaks several rules may be answered with the code of any of them; which comes first is no rule.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from random_model.world import GROUP, REGION, SMALL_INSTANCES, SUBNET

INVALID, IN_USE = "InvalidParameterCombinationException", "ResourceInUseException"
NOT_FOUND, NOT_PERMITTED = "ResourceNotFoundException", "OperationNotPermittedException"
EXISTS, LIMIT = "ResourceAlreadyExistsException", "LimitExceededException"
SAMPLE, BASE, NOBODY = "Fanlight-Sample-Debian13", "Fanlight-Base-Debian13", "nobody-made-this"
SMALL = "stream.standard.small"
SINGLE = "stream.graphics.g4dn.xlarge"
UNKNOWN_SUBNET = "subnet-nowhere"
RANGES = {
    "MaxUserDurationInSeconds": (600, 432_000),
    "DisconnectTimeoutInSeconds": (60, 36_000),
    "IdleDisconnectTimeoutInSeconds": (60, 36_000),
}
DEFAULTS = {
    "FleetType": "ALWAYS_ON",
    "StreamView": "APP",
    "MaxUserDurationInSeconds": 57_600,
    "DisconnectTimeoutInSeconds": 900,
    "IdleDisconnectTimeoutInSeconds": 0,
    "EnableDefaultInternetAccess": False,
}
CHANGEABLE_WHILE_RUNNING = {
    "DisplayName",
    "ComputeCapacity",
    "ImageName",
    "ImageArn",
    "DisconnectTimeoutInSeconds",
    "IdleDisconnectTimeoutInSeconds",
    "MaxSessionsPerInstance",
}
REFUSED = ("DomainJoinInfo", "IamRoleArn", "UsbDeviceFilterStrings")
ELASTIC_ONLY = ("MaxConcurrentSessions", "SessionScriptS3Location")
DELETED = {
    "VPC_CONFIGURATION": "VpcConfig",
    "VPC_CONFIGURATION_SECURITY_GROUP_IDS": "SecurityGroupIds",
    "MAX_SESSIONS_PER_INSTANCE": "MaxSessionsPerInstance",
    "VOLUME_CONFIGURATION": "RootVolumeConfig",
}


def image_arn(name: str) -> str:
    return f"arn:aws:appstream:{REGION}::image/{name}"


@dataclass
class ModelFleet:
    """`members` are those that DescribeFleets shows as they were given; capacity is kept in both units."""

    members: dict[str, Any]
    instances: int
    sessions: int | None = None
    state: str = "STOPPED"
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def per_instance(self) -> int | None:
        found: int | None = self.members.get("MaxSessionsPerInstance")
        return found

    @property
    def can_launch(self) -> bool:
        return UNKNOWN_SUBNET not in self.members.get("VpcConfig", {}).get("SubnetIds", ())

    def shown(self) -> dict[str, Any]:
        """Return what DescribeFleets must say of everything that can be asked for."""
        sessions = {"DesiredUserSessions": self.sessions} if self.per_instance else {}
        return {**_with_groups(self.members), "State": self.state, "Desired": self.instances, **sessions}


SHOWN = (
    *("Name", "DisplayName", "Description", "ImageName", "ImageArn", "InstanceType", "Platform", *DEFAULTS),
    *("VpcConfig", "MaxSessionsPerInstance", "RootVolumeConfig", "DisableIMDSV1"),
)


def of_wire(fleet: dict[str, Any]) -> dict[str, Any]:
    """Return the same of a fleet as DescribeFleets shows it."""
    capacity = fleet["ComputeCapacityStatus"]
    shown = {name: fleet[name] for name in SHOWN if name in fleet and name != "Name"}
    sessions = {"DesiredUserSessions": capacity["DesiredUserSessions"]} if "DesiredUserSessions" in capacity else {}
    return {**_with_groups(shown), "State": fleet["State"], "Desired": capacity["Desired"], **sessions}


def _with_groups(members: dict[str, Any]) -> dict[str, Any]:
    """No security groups and an empty list of them are the same."""
    if not members.get("VpcConfig"):
        return members
    return {**members, "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": [], **members["VpcConfig"]}}


def _pairs(*, is_update: bool) -> list[tuple[str, st.SearchStrategy[Any]]]:
    amounts = st.sampled_from((1, 2, 1, 3, 0, 5, -1))
    return [
        ("DisplayName", st.sampled_from(("One", "Two"))),
        ("Description", st.sampled_from(("once", "twice"))),
        ("StreamView", st.sampled_from(("APP", "DESKTOP"))),
        *((name, st.sampled_from((low, high, 600, low - 1, high + 1))) for name, (low, high) in RANGES.items()),
        ("IdleDisconnectTimeoutInSeconds", st.sampled_from((0, 70))),
        ("EnableDefaultInternetAccess", st.booleans()),
        (
            "VpcConfig",
            st.sampled_from(
                (
                    {},
                    {"SubnetIds": [SUBNET]},
                    {"SubnetIds": [SUBNET], "SecurityGroupIds": [GROUP]},
                    {"SecurityGroupIds": [GROUP]},
                    {"SubnetIds": [UNKNOWN_SUBNET]},
                )
            ),
        ),
        ("MaxSessionsPerInstance", st.sampled_from((2, 3, 1, 51))),
        ("RootVolumeConfig", st.sampled_from((200, 500, 199, 501)).map(lambda size: {"VolumeSizeInGb": size})),
        ("DisableIMDSV1", st.booleans()),
        ("Platform", st.sampled_from(("UBUNTU_PRO_2404", "AMAZON_LINUX2"))),
        ("InstanceType", st.sampled_from(("stream.standard.medium", "stream.compute.large", SINGLE, "any"))),
        ("ComputeCapacity", st.fixed_dictionaries({"DesiredInstances": amounts})),
        ("ComputeCapacity", st.fixed_dictionaries({"DesiredSessions": amounts})),
        ("ComputeCapacity", st.sampled_from(({}, {"DesiredInstances": 1, "DesiredSessions": 1}))),
        ("ImageName", st.sampled_from((SAMPLE, BASE, NOBODY))),
        ("ImageArn", st.sampled_from((image_arn(SAMPLE), image_arn(BASE), image_arn(NOBODY)))),
        ("DomainJoinInfo", st.sampled_from(({}, {"DirectoryName": "corp.example.org"}))),
        ("IamRoleArn", st.just("arn:aws:iam::123456789012:role/fleet")),
        ("UsbDeviceFilterStrings", st.sampled_from(([], ["046d,0a38,*,*,*,*,1,1"]))),
        ("MaxConcurrentSessions", st.just(2)),
        ("SessionScriptS3Location", st.just({"S3Bucket": "scripts", "S3Key": "key"})),
        *(
            (
                ("DeleteVpcConfig", st.booleans()),
                ("AttributesToDelete", st.lists(st.sampled_from((*DELETED, "IAM_ROLE_ARN")), max_size=2)),
            )
            if is_update
            else (("FleetType", st.sampled_from(("ALWAYS_ON", "ON_DEMAND", "ON_DEMAND", "ELASTIC"))),)
        ),
    ]


def _some(*, is_update: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Return some members with values, few at a time: most requests shall be legal."""
    one = st.one_of(
        [values.map(lambda value, name=name: (name, value)) for name, values in _pairs(is_update=is_update)]
    )
    return st.lists(one, max_size=3, unique_by=lambda pair: pair[0]).map(dict)


new_fleets = st.builds(
    lambda plain, more: {"ImageName": SAMPLE, "InstanceType": SMALL, **plain, **more},
    st.sampled_from(
        (
            {"ComputeCapacity": {"DesiredInstances": 1}},
            {"ComputeCapacity": {"DesiredInstances": 2}},
            {"ComputeCapacity": {"DesiredInstances": 1}, "FleetType": "ON_DEMAND"},
            {"ComputeCapacity": {"DesiredSessions": 3}, "MaxSessionsPerInstance": 2},
            {"ComputeCapacity": {"DesiredSessions": 2}, "MaxSessionsPerInstance": 2, "FleetType": "ON_DEMAND"},
        )
    ),
    _some(is_update=False),
)
fleet_changes = _some(is_update=True)


def created(given: dict[str, Any]) -> tuple[ModelFleet | None, set[str]]:
    """Return the fleet that CreateFleet makes, or the codes that it may be refused with."""
    empty = ModelFleet(members=dict(DEFAULTS), instances=0)
    if given.get("FleetType") == "ELASTIC":
        return None, {NOT_PERMITTED, *_plainly_wrong(given)}
    after, codes = _changed(empty, given, is_new=True)
    if "FleetType" in given:
        after.members["FleetType"] = given["FleetType"]
    return (None, codes) if codes else (after, codes)


def updated(fleet: ModelFleet, given: dict[str, Any]) -> tuple[ModelFleet | None, set[str]]:
    """Return what UpdateFleet makes of the fleet, or the codes that it may be refused with."""
    after, codes = _changed(fleet, given, is_new=False)
    if fleet.state in ("STARTING", "STOPPING"):
        codes.add(IN_USE)
    if fleet.state == "RUNNING" and not codes and not _may_while_running(fleet, after):
        codes.add(IN_USE)
    return (None, codes) if codes else (after, codes)


def _may_while_running(before: ModelFleet, after: ModelFleet) -> bool:
    changed = {name for name in SHOWN if before.members.get(name) != after.members.get(name)}
    turned = (before.per_instance is None) != (after.per_instance is None)
    return changed <= CHANGEABLE_WHILE_RUNNING and not turned


def _plainly_wrong(given: dict[str, Any]) -> set[str]:
    """Return the codes for what no fleet could make right."""
    codes: set[str] = set()
    for name, (low, high) in RANGES.items():
        value = given.get(name, low)
        if not low <= value <= high and not (name.startswith("Idle") and value == 0):
            codes.add(INVALID)
    if not 2 <= given.get("MaxSessionsPerInstance", 2) <= 50:
        codes.add(INVALID)
    if not 200 <= given.get("RootVolumeConfig", {"VolumeSizeInGb": 200})["VolumeSizeInGb"] <= 500:
        codes.add(INVALID)
    if any(amount < 0 for amount in given.get("ComputeCapacity", {}).values()) or given.get("ComputeCapacity") == {}:
        codes.add(INVALID)
    if any(name in given for name in ELASTIC_ONLY):
        codes.add(INVALID)
    if any(given.get(name) for name in REFUSED):
        codes.add(NOT_PERMITTED)
    if given.get("InstanceType") in (SINGLE, "any"):
        codes.add(NOT_PERMITTED)
    if given.get("Platform") == "AMAZON_LINUX2":
        codes.add(INVALID)
    return codes


def _changed(fleet: ModelFleet, given: dict[str, Any], *, is_new: bool) -> tuple[ModelFleet, set[str]]:
    codes = _plainly_wrong(given)
    members = dict(fleet.members)
    plain = {*RANGES, "DisplayName", "Description", "StreamView", "EnableDefaultInternetAccess", "DisableIMDSV1"}
    members |= {name: given[name] for name in (*plain, "InstanceType", "RootVolumeConfig") if name in given}
    removed = {DELETED[name] for name in given.get("AttributesToDelete", ()) if name in DELETED}
    removed |= {"VpcConfig"} if given.get("DeleteVpcConfig") else set()
    codes |= _image(members, given, is_new=is_new) | _networks(members, given, removed)
    if "RootVolumeConfig" in removed:
        codes |= {INVALID} if "RootVolumeConfig" in given else set()
        members.pop("RootVolumeConfig", None)
    if "MaxSessionsPerInstance" in removed:
        codes |= {INVALID} if "MaxSessionsPerInstance" in given else set()
        members.pop("MaxSessionsPerInstance", None)
    elif "MaxSessionsPerInstance" in given:
        members["MaxSessionsPerInstance"] = given["MaxSessionsPerInstance"]
    after = replace(fleet, members=members, tags=dict(fleet.tags))
    return after, codes | _capacity(after, given.get("ComputeCapacity"), is_new=is_new)


def _image(members: dict[str, Any], given: dict[str, Any], *, is_new: bool) -> set[str]:
    name, arn = given.get("ImageName"), given.get("ImageArn")
    if name is None and arn is None:
        return {INVALID} if is_new else set()
    if arn == image_arn(NOBODY) or (arn is None and name == NOBODY):
        return {NOT_FOUND}
    if arn is not None and name is not None and image_arn(name) != arn:
        return {INVALID}
    found = name or str(arn).rpartition("/")[2]
    members |= {"ImageName": found, "ImageArn": image_arn(found), "Platform": "UBUNTU_PRO_2404"}
    return set()


def _networks(members: dict[str, Any], given: dict[str, Any], removed: set[str]) -> set[str]:
    config = given.get("VpcConfig", {})
    if "VpcConfig" in removed:
        members.pop("VpcConfig", None)
        return {INVALID} if config else set()
    before = dict(members.get("VpcConfig", {}))
    if "SecurityGroupIds" in removed:
        if config.get("SecurityGroupIds"):
            return {INVALID}
        before.pop("SecurityGroupIds", None)
    after = before | config
    if not after:
        return set()
    members["VpcConfig"] = after
    return set() if after.get("SubnetIds") else {INVALID}


def _capacity(fleet: ModelFleet, asked: dict[str, int] | None, *, is_new: bool) -> set[str]:
    asked = asked or {}
    instances, sessions = asked.get("DesiredInstances"), asked.get("DesiredSessions")
    per_instance = fleet.per_instance
    if (instances is not None and sessions is not None) or (instances if per_instance else sessions) is not None:
        return {INVALID}
    if per_instance is None:
        fleet.sessions = None
        if instances is None and is_new:
            return {INVALID}
        fleet.instances = fleet.instances if instances is None else instances
        return set()
    fleet.sessions = fleet.sessions if sessions is None else sessions
    if fleet.sessions is None:
        return {INVALID}
    fleet.instances = -(-fleet.sessions // per_instance)
    return set()


def over_quota(
    limits: dict[str, int], fleets: dict[str, ModelFleet], name: str, after: ModelFleet, before: ModelFleet | None
) -> bool:
    """Return whether the quotas forbid a fleet this size; `before` is what it was, None for a new or a starting one."""
    internet = after.members["EnableDefaultInternetAccess"]
    kind = after.members["InstanceType"]
    if before is not None and (
        after.instances <= before.instances
        and kind == before.members["InstanceType"]
        and (before.members["EnableDefaultInternetAccess"] or not internet)
    ):
        return False
    if internet and after.instances > limits.get("Fleet instances with default internet access", after.instances):
        return True
    if kind != SMALL or SMALL_INSTANCES not in limits:
        return False
    others = (fleet.instances for n, fleet in fleets.items() if n != name and fleet.members["InstanceType"] == kind)
    return after.instances + sum(others) > limits[SMALL_INSTANCES]
