"""Files that a user saved in a session and that have not arrived where they are kept."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class SettingsLoss(StrEnum):
    """Why the settings of a user's applications were not kept at the end of a session; those of before stay."""

    TOO_LARGE = "TOO_LARGE"
    NOT_SAVED = "NOT_SAVED"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsentFiles:
    """How many, as the agent counted last; 0: none that we know of. `are_lost` when nobody tries to send them any more."""

    files: int = 0
    size_in_bytes: int = 0
    are_lost: bool = False

    def as_lost(self) -> "UnsentFiles | None":
        """Return them as lost; None when none are known, for then nothing is known to be lost."""
        return replace(self, are_lost=True) if self.files else None


def in_all(lost: Iterable[UnsentFiles]) -> UnsentFiles | None:
    """Return the sum of what was lost; None when nothing was."""
    kept = tuple(lost)
    if not kept:
        return None
    return UnsentFiles(
        files=sum(one.files for one in kept), size_in_bytes=sum(one.size_in_bytes for one in kept), are_lost=True
    )
