"""Who may administer a studio, and who may use a launch profile."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fanlight.domain.places import Scope


class Persona(StrEnum):
    ADMINISTRATOR = "ADMINISTRATOR"  # of a studio
    USER = "USER"  # of a launch profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """`owner_id` is the studio's or the launch profile's; `sid` the user's name in an Active Directory, if one is known."""

    scope: Scope
    owner_id: str
    principal_id: str
    identity_store_id: str
    persona: Persona
    sid: str | None = None
    joined_at: datetime
