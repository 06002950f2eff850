"""Archives of root file systems, on their way into the engine's store and out of it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from fanlight.domain.errors import DriverError
from fanlight.domain.images import Application


class ArchiveNotTaken(DriverError):
    """The archive breaks a rule, or lacks what a session needs. The text is for the administrator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCatalogue:
    """What a request says of applications, by name: the program that each starts, and the path of its icon if any."""

    programs: Mapping[str, str]
    icons: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """`applications` are those found as desktop entries, none if a catalogue was given. Icons are PNGs drawn by us."""

    applications: tuple[Application, ...]
    icons: Mapping[str, bytes]
    size_in_bytes: int


class ImageArchives(Protocol):
    """Every archive is hostile: it is read and written anew in a confined process before the engine sees anything of it."""

    async def take(
        self,
        ref: str,
        region: str,
        archive: AsyncIterator[bytes],
        catalogue: GivenCatalogue | None,
        properties: Mapping[str, str],
    ) -> ArchiveReport:
        """Have the root file system in the store of a region under `ref`, replacing what had that name.

        None as catalogue: applications are found. Raises ArchiveNotTaken, CapacityExhausted, DriverUnavailable, and what
        the archive's own iterator raises.
        """
        ...

    def give(self, ref: str, region: str) -> AsyncIterator[bytes]:
        """Yield the root file system as a tarball (zstd) that `take` would take. Raises ImageMissing, DriverUnavailable."""
        ...
