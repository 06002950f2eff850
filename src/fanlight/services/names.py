"""Reading what a request names, however many names that are."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from fanlight.domain.errors import NotFound

# Databases limit the parameters of a statement; a request's list of names has no limit in the service model.
NAMES_AT_A_TIME = 500


class Named(Protocol):
    @property
    def name(self) -> str: ...


NamedT = TypeVar("NamedT", bound=Named)


async def all_named(
    kind: str, names: Sequence[str], read: Callable[[Sequence[str]], Awaitable[Sequence[NamedT]]]
) -> list[NamedT]:
    """Return what has these names, by name, each once. Raises NotFound for the first name that is missing."""
    asked = list(dict.fromkeys(names))
    found: list[NamedT] = []
    for start in range(0, len(asked), NAMES_AT_A_TIME):
        some = asked[start : start + NAMES_AT_A_TIME]
        got = await read(some)
        present = {one.name for one in got}
        for name in some:
            if name not in present:
                raise NotFound(kind, name)
        found += got
    return sorted(found, key=lambda one: one.name)
