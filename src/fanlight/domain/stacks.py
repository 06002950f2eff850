"""Stacks: what a user is offered (settings, storage, texts) in front of a fleet."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fanlight.domain.places import Scope


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """`enabled_actions` is the full truth: an action that is not in it is DISABLED."""

    stack_id: str
    scope: Scope
    name: str
    version: int = 0
    display_name: str | None = None
    description: str | None = None
    redirect_url: str | None = None
    feedback_url: str | None = None
    enabled_actions: frozenset[UserAction] = field(default=frozenset(UserAction) - DISABLED_BY_DEFAULT)
    created_at: datetime

    @property
    def arn(self) -> str:
        return self.scope.arn(f"stack/{self.name}")
