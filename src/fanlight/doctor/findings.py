"""What an examination says: one finding for each thing looked at."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "fatal"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is a fact about this host; `mend` is the command, or the deed, that mends it (empty when it is ok).

    fatal: Fanlight would not start or would not keep its promises. warning: it works, with the loss that `what` names.
    """

    level: Level
    what: str
    mend: str = ""


def ok(what: str) -> Finding:
    return Finding("ok", what)


def warning(what: str, mend: str) -> Finding:
    return Finding("warning", what, mend)


def fatal(what: str, mend: str) -> Finding:
    return Finding("fatal", what, mend)
