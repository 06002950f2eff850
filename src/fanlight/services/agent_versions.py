"""Which versions of the runtime (AppStream's "agent") instances can have, by the names that administrators read and give.

A version is the day of its build and a hash of its content; who gives the day alone means the newest of that day.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fanlight.domain.errors import NotAvailable
from fanlight.domain.images import LATEST


@dataclass(frozen=True, slots=True)
class AgentVersions:
    """`newest` is what new instances get, None while nothing is installed; `installed` are all that may be asked for."""

    newest: Callable[[], str | None]
    installed: Callable[[], Sequence[str]]

    @classmethod
    def fixed(cls, version: str) -> Self:
        """Return the versions of an engine that has one, and mounts nothing."""
        return cls(lambda: version, lambda: (version,))

    @classmethod
    def below(cls, runtimes: Path) -> Self:
        """Return those that are installed in DATA_DIR/runtime."""

        def installed() -> Sequence[str]:
            return sorted(path.parent.name for path in runtimes.glob("??-??-????-*/VERSION"))

        def newest() -> str | None:
            link = runtimes / "current"
            return link.readlink().name if link.is_symlink() else None

        return cls(newest, installed)

    def resolve(self, asked: str | None) -> str:
        """Return the version that is meant; None means the newest. Raises NotAvailable."""
        newest, installed = self.newest(), self.installed()
        if asked in (None, LATEST) and newest is not None:
            return newest
        found = [version for version in installed if version == asked or version.startswith(f"{asked}-")]
        if newest in found:
            return str(newest)
        if found:
            return found[-1]
        known = ", ".join((LATEST, *installed))
        why = (
            f"The agent version {asked} is not installed here. Choose one of: {known}."
            if installed
            else "No agent is installed on this server yet. Its operator runs: fanlight images build"
        )
        raise NotAvailable("agent version", asked or LATEST, why)

    def is_newest(self, version: str) -> bool:
        return version == self.newest()
