"""How much room a folder has: what the door said last, and what was changed here since.

Everything that is written here reaches the door a little later, so a sum of both would count some of it twice. There
are two bounds instead, and the lower one holds: what was stored when nothing was under way, with all that was changed
here since; and what is stored now, with all that is under way. It is never less than what is stored now.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a user may keep, and keeps, in bytes. Without a limit (None) the use is not known."""

    limit: int | None
    used: int


class Ledger:
    def __init__(self, room: Room) -> None:
        self.limit = room.limit
        self._base, self._since_base = room.used, 0
        self._seen, self._unsent, self._since_look = room.used, 0, 0
        self._freed = self._removed = 0  # of what was changed since the look; what was removed is in both
        self._mark: tuple[int, int, int] | None = None

    @property
    def used(self) -> int:
        by_changes = self._base + self._since_base
        by_what_is_stored = self._seen + self._unsent + self._since_look
        return max(0, self._seen - self._freed, min(by_changes, by_what_is_stored))

    @property
    def left(self) -> int:
        """Return the bytes that still fit, below zero for a user who is over the limit. Only with a limit."""
        return (self.limit or 0) - self.used

    def change(self, size: int) -> None:
        """A file here has become larger, or smaller, by so many bytes."""
        self._since_base += size
        self._since_look += size
        self._freed += max(0, -size)

    def remove(self, size: int) -> None:
        """A file of that size is gone."""
        self.change(-size)
        self._removed += size

    def mark(self) -> None:
        """Somebody begins to ask how it stands."""
        self._mark = self._since_look, self._freed, self._removed

    def look(self, room: Room, *, in_work: int, unsent: int, is_quiet: bool) -> None:
        """This is the answer to what was asked at the mark.

        `in_work`: by how much the files were changed that were not closed then, or were opened again since. `unsent`:
        the size of those that were closed and have not arrived. `is_quiet`: there are none.
        """
        self.limit = room.limit
        if self._mark is None:
            return
        since_look, freed, removed = self._mark
        self._mark = None
        self._seen, self._unsent = room.used, unsent
        # What was removed since the mark, the door knew perhaps, perhaps not: at the next look it does.
        self._since_look += self._removed - removed - since_look + in_work
        self._freed -= freed
        self._removed -= removed
        if is_quiet:
            self._base, self._since_base = self._seen, self._since_look
