"""What members of a zip file of a user's files are called. Names of files are anything; these mean nothing but themselves."""

import re

# What some system takes for something else than a part of a name: control characters, signs that turn the reading
# direction round, separators and wildcards.
_ODD = re.compile(r'[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\\/:*?"<>|\ufffd]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_MAX_NAME = 200


def harmless(name: bytes) -> str:
    """Return a name that every system can unpack, and that means nothing but itself."""
    text = _ODD.sub("_", name.decode("utf-8", "replace")).rstrip(". ") or "_"
    return ("_" + text if _DEVICES.fullmatch(text) else text)[:_MAX_NAME]


class MemberNames:
    """Gives each member of a folder a name of its own, also where two differ only in what was odd about them."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, name: bytes) -> str:
        wanted = free = harmless(name)
        stem, dot, suffix = wanted.rpartition(".")
        number = 2
        while free.casefold() in self._taken:
            free = f"{stem} ({number}).{suffix}" if dot and stem else f"{wanted} ({number})"
            number += 1
        self._taken.add(free.casefold())
        return free
