"""What CreateStack and UpdateStack may say of a stack, and the rules between its members.

A member that contradicts itself or another is InvalidCombination; one that Fanlight cannot honour is NotSupported, with
the reason. The first is looked for first: who is refused for the second has asked correctly.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from fanlight.domain.errors import InvalidCombination, NotSupported
from fanlight.domain.stacks import (
    CLIPBOARD_ACTIONS,
    DEFAULT_ACTIONS,
    LONGEST_COPY,
    PreferredProtocol,
    Stack,
    UrlRedirection,
    UserAction,
)
from fanlight.domain.user_storage import StorageKind
from fanlight.services.storage_connectors import WantedConnector, checked_connectors

# Nothing is behind these. To accept them would promise users what they do not get.
CANNOT_BE_ENABLED = {
    UserAction.DOMAIN_SMART_CARD_SIGNIN: "Fanlight joins instances to no domain",
    UserAction.SMART_CARD_REDIRECTION: "Fanlight does not pass smart cards on",
}
# A host name as pages spell it. The model says the same; it stands in a header, so nothing else may ever reach it.
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9][a-z0-9-]{0,61}[a-z0-9]")
_LONGEST_DOMAIN = 128

Permissions = Mapping[UserAction, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSettings:
    is_enabled: bool
    settings_group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAccess:
    """`actions` as given; an update may leave everything out (`is_update`)."""

    actions: tuple[tuple[str, bool], ...] | None = None
    s3_bucket_arn: str | None = None
    uploads_screenshots: bool = False
    replays_sessions: bool = False
    kms_key_arn: str | None = None
    is_update: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StackMembers:
    """What both operations may say; None leaves as it is.

    `permissions` may name some actions: the others have their defaults, and so have all maximum lengths.
    """

    display_name: str | None = None
    description: str | None = None
    redirect_url: str | None = None
    feedback_url: str | None = None
    permissions: Permissions | None = None
    maximum_lengths: Mapping[UserAction, int] | None = None
    application_settings: ApplicationSettings | None = None
    storage_connectors: tuple[WantedConnector, ...] | None = None
    storage_connector_authentication: str | None = None
    access_endpoints: tuple[str | None, ...] | None = None
    embed_host_domains: tuple[str, ...] | None = None
    preferred_protocol: PreferredProtocol | None = None
    content_redirection: UrlRedirection | None = None
    agent_access: AgentAccess | None = None


def applied(
    stack: Stack, members: StackMembers, known_endpoints: Collection[str], drives: Collection[StorageKind] = ()
) -> Stack:
    """Return the stack with what `members` say. Raises InvalidCombination, NotSupported."""
    _check_url("RedirectURL", members.redirect_url)
    _check_url("FeedbackURL", members.feedback_url)
    connectors = members.storage_connectors
    _check_authentication(members.storage_connector_authentication)
    _check_agent_access(members.agent_access)
    _check_redirection(members.content_redirection)
    given: dict[str, Any] = {
        "display_name": members.display_name,
        "description": members.description,
        "redirect_url": members.redirect_url,
        "feedback_url": members.feedback_url,
        "embed_host_domains": _embed_host_domains(members.embed_host_domains),
        "access_endpoints": checked_endpoints(members.access_endpoints, known_endpoints),
        "preferred_protocol": members.preferred_protocol,
        "content_redirection": members.content_redirection,
        "storage_connector_authentication": members.storage_connector_authentication,
        "storage_connectors": None if connectors is None else checked_connectors(connectors, stack.scope, drives),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if members.application_settings is not None:
        changes["settings_group"] = _settings_group(members.application_settings)
    if members.permissions is not None:
        lengths = members.maximum_lengths or {}
        changes["enabled_actions"] = enabled_actions(members.permissions)
        _check_lengths(members.permissions, lengths)
        changes["maximum_lengths"] = dict(lengths)
    return replace(stack, **changes)


def enabled_actions(permissions: Permissions | None) -> frozenset[UserAction]:
    """Return all enabled actions when some are given. Raises NotSupported, InvalidCombination."""
    given = permissions or {}
    for action, why in CANNOT_BE_ENABLED.items():
        if given.get(action):
            raise NotSupported(f"UserSettings: {action} cannot be ENABLED: {why}. Leave it DISABLED.")
    enabled = frozenset(action for action in UserAction if given.get(action, action in DEFAULT_ACTIONS))
    if not enabled & {UserAction.DOMAIN_PASSWORD_SIGNIN, UserAction.DOMAIN_SMART_CARD_SIGNIN}:
        raise InvalidCombination(
            "UserSettings: one of DOMAIN_PASSWORD_SIGNIN and DOMAIN_SMART_CARD_SIGNIN must be ENABLED."
        )
    return enabled


def _check_lengths(permissions: Permissions, lengths: Mapping[UserAction, int]) -> None:
    for action, length in lengths.items():
        if action not in CLIPBOARD_ACTIONS:
            raise InvalidCombination(
                f"UserSettings: {action} has no MaximumLength; only the two CLIPBOARD_COPY actions have one."
            )
        if not permissions.get(action):
            raise InvalidCombination(f"UserSettings: {action} is DISABLED, so it has no MaximumLength. Leave it out.")
        if not 1 <= length <= LONGEST_COPY:
            raise InvalidCombination(
                f"UserSettings: MaximumLength of {action} is {length}; it must be between 1 and {LONGEST_COPY}."
            )


def _settings_group(settings: ApplicationSettings) -> str | None:
    """Return the group, None when settings are not kept. Raises InvalidCombination."""
    group = settings.settings_group
    if not settings.is_enabled:
        if group:
            raise InvalidCombination("ApplicationSettings: SettingsGroup needs Enabled true. Leave it out.")
        return None
    if not group:
        raise InvalidCombination(
            "ApplicationSettings: SettingsGroup is missing. Name one; stacks with one name share the settings."
        )
    steps = group.split("/")
    if not group.isprintable() or any(step in ("", ".", "..") for step in steps):
        raise InvalidCombination(
            "ApplicationSettings: SettingsGroup is a prefix in a bucket. Use visible characters, without an empty step, "
            "'.' or '..' between slashes."
        )
    return group


def _check_authentication(authentication: str | None) -> None:
    if authentication == "FORCE_REAUTHENTICATION":
        raise NotSupported(
            "StorageConnectorAuthentication FORCE_REAUTHENTICATION is not supported: a drive stays connected "
            "until its user disconnects it. Leave it out."
        )


def checked_endpoints(endpoints: tuple[str | None, ...] | None, known: Collection[str]) -> tuple[str, ...] | None:
    """Return the ids of interface endpoints as they are given. Raises InvalidCombination, NotSupported."""
    if endpoints is None:
        return None
    for endpoint in endpoints:
        if not endpoint:
            raise InvalidCombination("AccessEndpoints: VpceId is missing. Say which interface endpoint is meant.")
        if endpoints.count(endpoint) > 1:
            raise InvalidCombination(f"AccessEndpoints: {endpoint} is given twice. Give it once.")
        if endpoint not in known:
            raise NotSupported(
                f"AccessEndpoints is not supported: {endpoint} is no interface endpoint of this installation, so users "
                "could not be kept to it. Its operator configures them (--access-endpoints)."
            )
    return tuple(endpoint for endpoint in endpoints if endpoint)


def _embed_host_domains(domains: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if domains is None:
        return None
    for domain in domains:
        if len(domain) > _LONGEST_DOMAIN or not _DOMAIN.fullmatch(domain):
            raise InvalidCombination(
                f"EmbedHostDomains: {domain!r} is no host name. Write it in small letters, without https:// and port."
            )
    return tuple(dict.fromkeys(domains))


def _check_redirection(redirection: UrlRedirection | None) -> None:
    if redirection is not None and redirection.is_enabled:
        raise NotSupported(
            "ContentRedirection with Enabled true is not supported: links open in the session. Set Enabled to false."
        )


def _check_agent_access(access: AgentAccess | None) -> None:
    if access is None:
        return
    if access.actions is not None:
        named = [action for action, _ in access.actions]
        enabled = {action for action, is_enabled in access.actions if is_enabled}
        if len(set(named)) < len(named):
            raise InvalidCombination("AgentAccessConfig: an AgentAction is given twice. Give each once.")
        if not enabled and not access.is_update:
            raise InvalidCombination("AgentAccessConfig: at least one AgentAction must be ENABLED.")
        if "COMPUTER_INPUT" in enabled and "COMPUTER_VISION" not in enabled:
            raise InvalidCombination("AgentAccessConfig: COMPUTER_INPUT needs COMPUTER_VISION to be ENABLED too.")
        if access.replays_sessions and "COMPUTER_VISION" not in enabled:
            raise InvalidCombination("AgentAccessConfig: ReplaySessionEnabled needs COMPUTER_VISION to be ENABLED.")
    if (access.uploads_screenshots or access.replays_sessions) and not access.s3_bucket_arn:
        raise InvalidCombination(
            "AgentAccessConfig: S3BucketArn is missing. ScreenshotsUploadEnabled and ReplaySessionEnabled need it."
        )
    if access.kms_key_arn and not access.replays_sessions:
        raise InvalidCombination("AgentAccessConfig: KmsKeyArn needs ReplaySessionEnabled true. Leave it out.")
    raise NotSupported("AgentAccessConfig is not supported: Fanlight has no access for agents yet. Leave it out.")


def _check_url(member: str, url: str | None) -> None:
    """Raise InvalidCombination for what a browser would not open as a web page: the session page sends users there."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidCombination(f"{member} is not a web address. Give one that begins with https:// or http://.")
