"""The listings that a session's programs ask for: each read anew from the storage first, then handed out name by name.

rclone remembers listings for a long time, for it would read a folder again, and again, in the midst of handing out one that
takes longer than its memory. So nothing is seen anew that was not asked for here.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from fanlight.domain.errors import StorageUnusable
from fanlight.storage.files.folders import NothingThere, UserFolder
from fanlight.storage.files.paths import Steps
from fanlight.storage.files.readings import Readings

# All that a mount needs of each file: what rclone asks for by itself takes twice as many bytes, and half of that says that there is nothing.
WANTED = (
    b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop>'
    b"<D:resourcetype/><D:getcontentlength/><D:getlastmodified/></D:prop></D:propfind>"
)
LONG_AFTER_IN_SECONDS = 1.0
_BUSY_AFTER_IN_SECONDS = 0.3
_COUNT_EVERY_IN_SECONDS = 0.5
_UNKNOWN, _LONGEST_NAME = -1, 255
_END_OF_NAME = b"</D:response>"


@dataclass(slots=True)
class Listing:
    """One that is under way.

    `found` are the names that the storage has told so far, None when that cannot be known; `given` are those of them that
    were handed out. With `is_read`, `found` are all.
    """

    steps: Steps
    began_at: float = field(default_factory=time.monotonic)
    found: int | None = None
    is_read: bool = False
    given: int = 0
    number: int = 0  # among the readings of the door; 0 when it is not the only one
    names_before: int = 0
    _tail: bytes = b""

    def hand_out(self, piece: bytes) -> None:
        """Count the names in a piece of rclone's answer."""
        text = self._tail + piece
        self.given += text.count(_END_OF_NAME)
        self._tail = text[1 - len(_END_OF_NAME) :]

    def as_news(self) -> dict[str, object]:
        """Return what `agentwire.messages.Opening` has."""
        name = self.steps[-1].decode(errors="replace")[:_LONGEST_NAME] if self.steps else ""
        if not self.is_read:
            return {"name": name, "files": _UNKNOWN if self.found is None else self.found, "of": _UNKNOWN}
        files = max(self.given - 1, 0)  # the first is the folder itself
        is_known = self.found is not None and self.found >= files
        return {"name": name, "files": files, "of": self.found if is_known else _UNKNOWN}

    @property
    def age_in_seconds(self) -> float:
        return time.monotonic() - self.began_at


class Listings:
    """Of one door."""

    def __init__(self, folder: UserFolder, readings: Readings) -> None:
        self._folder, self._readings = folder, readings
        self._under_way: list[Listing] = []

    def long_one(self) -> Listing | None:
        """Return the listing that takes longest, if it takes so long that its user wonders."""
        first = self._under_way[0] if self._under_way else None
        return first if first and first.age_in_seconds >= LONG_AFTER_IN_SECONDS else None

    def is_busy(self) -> bool:
        """Return whether one may take long: rclone could forget nothing meanwhile, and would stand still until its end."""
        return any(listing.age_in_seconds >= _BUSY_AFTER_IN_SECONDS for listing in self._under_way)

    @contextmanager
    def begun(self, target: str) -> Iterator[Listing]:
        listing = Listing(tuple(unquote_to_bytes(step) for step in target.split("/") if step))
        self._under_way.append(listing)
        try:
            yield listing
        finally:
            self._under_way.remove(listing)

    async def read(self, listing: Listing) -> None:
        """Have it read anew, and count meanwhile. Raises StorageUnusable: rclone would show such a folder as empty."""
        counting = asyncio.create_task(self._count(listing))
        try:
            with suppress(NothingThere):  # rclone says so itself
                await self._folder.read(listing.steps)
        finally:
            counting.cancel()
            with suppress(asyncio.CancelledError):
                await counting
        if listing.age_in_seconds >= LONG_AFTER_IN_SECONDS:
            await self._look(listing)
        listing.is_read = True

    async def _count(self, listing: Listing) -> None:
        with suppress(StorageUnusable):
            if self._readings.under_way > 1:
                return
            listing.number = self._readings.begun
            listing.names_before = await self._folder.listed()
            while True:
                await asyncio.sleep(_COUNT_EVERY_IN_SECONDS)
                await self._look(listing)

    async def _look(self, listing: Listing) -> None:
        """rclone counts the names of all listings together: of two at a time neither has a number."""
        listing.found = None
        with suppress(StorageUnusable):
            names = await self._folder.listed()
            if listing.number == self._readings.begun:
                listing.found = names - listing.names_before
