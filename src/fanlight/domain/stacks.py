"""Stacks: what a user is offered (settings, storage, texts) in front of a fleet."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fanlight.domain.places import Scope
from fanlight.domain.user_storage import StorageConnector, StorageKind, home_bucket, settings_bucket


class UserAction(StrEnum):
    CLIPBOARD_COPY_FROM_LOCAL_DEVICE = "CLIPBOARD_COPY_FROM_LOCAL_DEVICE"
    CLIPBOARD_COPY_TO_LOCAL_DEVICE = "CLIPBOARD_COPY_TO_LOCAL_DEVICE"
    FILE_UPLOAD = "FILE_UPLOAD"
    FILE_DOWNLOAD = "FILE_DOWNLOAD"
    PRINTING_TO_LOCAL_DEVICE = "PRINTING_TO_LOCAL_DEVICE"
    DOMAIN_PASSWORD_SIGNIN = "DOMAIN_PASSWORD_SIGNIN"  # noqa: S105 - the name of an action
    DOMAIN_SMART_CARD_SIGNIN = "DOMAIN_SMART_CARD_SIGNIN"
    AUTO_TIME_ZONE_REDIRECTION = "AUTO_TIME_ZONE_REDIRECTION"
    SMART_CARD_REDIRECTION = "SMART_CARD_REDIRECTION"


DISABLED_BY_DEFAULT = frozenset(
    {UserAction.DOMAIN_SMART_CARD_SIGNIN, UserAction.AUTO_TIME_ZONE_REDIRECTION, UserAction.SMART_CARD_REDIRECTION}
)
DEFAULT_ACTIONS = frozenset(UserAction) - DISABLED_BY_DEFAULT
LONGEST_COPY = 20_971_520  # characters; what MaximumLength may be at most, and is when it is not said
CLIPBOARD_ACTIONS = frozenset({UserAction.CLIPBOARD_COPY_FROM_LOCAL_DEVICE, UserAction.CLIPBOARD_COPY_TO_LOCAL_DEVICE})


class PreferredProtocol(StrEnum):
    """A wish of the stack for native clients. Browsers are streamed to over TCP whatever it says, as in the service."""

    TCP = "TCP"
    UDP = "UDP"


class StackErrorCode(StrEnum):
    STORAGE_CONNECTOR_ERROR = "STORAGE_CONNECTOR_ERROR"
    INTERNAL_SERVICE_ERROR = "INTERNAL_SERVICE_ERROR"


@dataclass(frozen=True, slots=True)
class StackError:
    code: StackErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class UrlRedirection:
    """Which web addresses opened in a session are opened by the user's own browser; a denied pattern wins."""

    is_enabled: bool
    allowed_urls: tuple[str, ...] | None = None
    denied_urls: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSettings:
    """What users may do in a session. `enabled_actions` is the full truth: an action that is not in it is DISABLED.

    `max_copy_from` and `max_copy_to` are the longest text, in characters, that may be copied from the user's device
    into the session and back; of anything but text, bytes are counted.
    """

    enabled_actions: frozenset[UserAction] = DEFAULT_ACTIONS
    max_copy_from: int = LONGEST_COPY
    max_copy_to: int = LONGEST_COPY


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """`enabled_actions` is the full truth: an action that is not in it is DISABLED.

    `maximum_lengths` (characters) names the clipboard actions that were given one. `settings_group` is set while the
    settings of applications are to be kept. `embed_host_domains` are host names whose https pages may frame sessions.
    `access_endpoints` are ids that this installation's configuration knows; users come through one of them, if any.
    `storage_problem` says why one of its buckets cannot be used now, as last seen.
    """

    stack_id: str
    scope: Scope
    name: str
    version: int = 0
    display_name: str | None = None
    description: str | None = None
    redirect_url: str | None = None
    feedback_url: str | None = None
    enabled_actions: frozenset[UserAction] = DEFAULT_ACTIONS
    maximum_lengths: Mapping[UserAction, int] = field(default_factory=dict)
    settings_group: str | None = None
    embed_host_domains: tuple[str, ...] = ()
    access_endpoints: tuple[str, ...] = ()
    preferred_protocol: PreferredProtocol = PreferredProtocol.TCP
    content_redirection: UrlRedirection | None = None
    storage_connector_authentication: str | None = None
    storage_connectors: tuple[StorageConnector, ...] = ()
    storage_problem: str | None = None
    created_at: datetime

    @property
    def arn(self) -> str:
        return self.scope.arn(f"stack/{self.name}")

    @property
    def user_settings(self) -> UserSettings:
        """What a session that is made now allows."""
        most = self.maximum_lengths
        return UserSettings(
            enabled_actions=self.enabled_actions,
            max_copy_from=most.get(UserAction.CLIPBOARD_COPY_FROM_LOCAL_DEVICE, LONGEST_COPY),
            max_copy_to=most.get(UserAction.CLIPBOARD_COPY_TO_LOCAL_DEVICE, LONGEST_COPY),
        )

    @property
    def settings_bucket(self) -> str | None:
        """The bucket for the settings of applications: one for each account and region, none while they are not kept."""
        return settings_bucket(self.scope) if self.settings_group is not None else None

    @property
    def storage_buckets(self) -> tuple[str, ...]:
        """The buckets that its users' files are in."""
        has_home = any(one.kind is StorageKind.HOMEFOLDERS for one in self.storage_connectors)
        return (
            *((home_bucket(self.scope),) if has_home else ()),
            *((self.settings_bucket,) if self.settings_bucket else ()),
        )

    def errors(self, known_endpoints: Collection[str]) -> tuple[StackError, ...]:
        """Return what keeps users of this stack out, or their files away, now; a cause that is gone leaves no trace."""
        gone = sorted(set(self.access_endpoints) - set(known_endpoints))
        errors = [
            StackError(
                StackErrorCode.INTERNAL_SERVICE_ERROR,
                f"The interface endpoint {endpoint} is not in this installation's configuration any more: nobody can "
                "connect through it. Configure it again, or update the stack's AccessEndpoints.",
            )
            for endpoint in gone
        ]
        if self.storage_problem is not None:
            errors.append(StackError(StackErrorCode.STORAGE_CONNECTOR_ERROR, self.storage_problem))
        return tuple(errors)
