"""One thing that an uninstallation removes, described before and done after it was asked for."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Removal:
    """Something of ours that is there now. `remove` may be called again after a failure; it raises OperationFailed."""

    what: str
    detail: str
    remove: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Spared:
    """Something that stays although it has one of our names, or because it is not ours to remove; and why."""

    what: str
    why: str


Finding = Removal | Spared
