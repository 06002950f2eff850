"""Which engine serves a region: every region the same one, unless the operator gives it one of its own.

An engine is a project and a storage pool of an Incus. Several may live in one Incus and share its networks; another Incus
on this host has its own bridge. What an engine is called is the first region that has it; the common one has no name.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    from fanlight.config import Settings

_KEYS = ("project", "pool", "socket", "network", "subnet", "pool_size_in_gib")
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")


class RegionEngine(BaseModel):
    """The engine of one region; what is None is as in the common engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str = Field(pattern=f"^{_REGION.pattern}$")
    project: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    pool: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]{0,62}$")
    socket: Path | None = None
    network: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]{0,14}$")
    subnet: str | None = None
    pool_size_in_gib: int | None = Field(None, ge=5)


def _read(value: Any) -> Any:
    """Take `REGION:KEY=VALUE,...` for what it says. Raises ValueError."""
    if not isinstance(value, str):
        return value
    region, colon, rest = value.partition(":")
    members = dict(part.strip().partition("=")[::2] for part in rest.split(",")) if rest else {}
    if not colon or not members or not all(key in _KEYS and text for key, text in members.items()):
        raise ValueError(f"an engine is written REGION:project=NAME,pool=NAME; the keys are {', '.join(_KEYS)}")
    return {"region": region.strip(), **members}


ReadRegionEngine = Annotated[RegionEngine, BeforeValidator(_read)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """`settings` are those of the installation with `incus_…` as they are for this engine.

    `is_sharing`: it is in the Incus of the common engine, and has the networks of that one.
    """

    name: str
    regions: tuple[str, ...]
    settings: "Settings"
    is_sharing: bool = True

    @property
    def place(self) -> tuple[Path, str]:
        return self.settings.incus_socket, self.settings.incus_project


def engines_of(settings: "Settings") -> tuple[Engine, ...]:
    """Return the engines, the common one first. Raises ValueError when they are in each other's way."""
    own = {one.region: _settings_for(settings, one) for one in settings.region_engines}
    if strange := sorted(own.keys() - set(settings.regions)):
        raise ValueError(f"{strange[0]} is not one of the regions {', '.join(settings.regions)}")
    if len(own) < len(settings.region_engines):
        raise ValueError("a region is named twice")
    common = (settings.incus_socket, settings.incus_project)
    by_place: dict[tuple[Path, str], list[str]] = {common: [one for one in settings.regions if one not in own]}
    settings_at = {common: settings}
    for region, found in own.items():
        place = (found.incus_socket, found.incus_project)
        if settings_at.setdefault(place, found).incus_pool != found.incus_pool:
            raise ValueError(f"the project {found.incus_project} cannot have two pools")
        by_place.setdefault(place, []).append(region)
    engines = tuple(
        Engine(
            name="" if place == common else regions[0],
            regions=tuple(regions),
            settings=settings_at[place],
            is_sharing=place[0] == settings.incus_socket,
        )
        for place, regions in by_place.items()
    )
    _check_networks(engines)
    return engines


def _settings_for(settings: "Settings", engine: RegionEngine) -> "Settings":
    """Raises ValueError."""
    is_sharing = engine.socket in (None, settings.incus_socket)
    if is_sharing and (engine.network or engine.subnet):
        raise ValueError(f"{engine.region} shares the network of its Incus: name network and subnet with a socket only")
    if not is_sharing and not (engine.network and engine.subnet):
        raise ValueError(f"{engine.region} has another Incus, which needs a network and a subnet of its own")
    wished = {
        "incus_socket": engine.socket,
        "incus_project": engine.project,
        "incus_pool": engine.pool,
        "incus_network": engine.network,
        "incus_subnet": engine.subnet,
        "incus_pool_size_in_gib": engine.pool_size_in_gib,
    }
    changed: dict[str, Any] = {key: value for key, value in wished.items() if value is not None}
    if not is_sharing:
        changed["networks_file"] = None  # its subnets are bridges of the common Incus
    return settings.model_copy(update=changed)


def _check_networks(engines: tuple[Engine, ...]) -> None:
    """Raises ValueError: on one host two bridges cannot have one name, nor one network."""
    of_socket: dict[Path, tuple[str, str]] = {}
    for engine in engines:
        network = (engine.settings.incus_network, engine.settings.incus_subnet)
        known = of_socket.setdefault(engine.settings.incus_socket, network)
        if known != network:
            raise ValueError(f"the engines in {engine.settings.incus_socket} must name the same network and subnet")
    for column, what in ((0, "network"), (1, "subnet")):
        values = [network[column] for network in of_socket.values()]
        if len(set(values)) < len(values):
            raise ValueError(f"each Incus needs a {what} of its own")
