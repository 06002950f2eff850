"""An instance lives in the engine of its region, and an engine that is away speaks for its own regions only."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from fanlight.config import Settings
from fanlight.domain.errors import DriverUnavailable, ImageMissing
from fanlight.domain.partial_sights import PartlyUnavailable, observe_in
from fanlight.domain.ports import Capabilities, InstanceSpec, ObservedInstance, Power
from fanlight.drivers.incus import engines as module
from fanlight.drivers.incus import wire
from fanlight.drivers.incus.engines import IncusEngines
from fanlight.drivers.incus.shares import Shares

SETTINGS = Settings(
    region_engines=(
        "us-west-2:project=west,pool=west",
        "eu-west-1:project=europe,socket=/s,network=n1,subnet=10.1.0.1/16",
    )  # type: ignore[arg-type] # as the command line gives them
)
AWAY = DriverUnavailable("Incus does not answer.")


class OneEngine:
    """What IncusEngines asks of one IncusDriver, without Incus."""

    def __init__(self) -> None:
        self.running: dict[str, InstanceSpec] = {}
        self.away: DriverUnavailable | None = None
        self.hangs = False
        self.hints: list[str] = []
        self.enforces_disk_quota = True

    def _check(self) -> None:
        if self.away:
            raise self.away

    @property
    def capabilities(self) -> Capabilities:
        self._check()
        return Capabilities(
            isolates_network=True,
            enforces_disk_quota=self.enforces_disk_quota,
            streams_pixels=True,
            separates_users=True,
        )

    async def prepare(self) -> None:
        self._check()

    async def launch(self, spec: InstanceSpec) -> None:
        self._check()
        if spec.image_ref == "missing":
            raise ImageMissing(spec.image_ref)
        self.running[spec.instance_id] = spec

    async def has(self, instance_id: str) -> bool:
        self._check()
        return instance_id in self.running

    async def terminate(self, instance_id: str) -> None:
        self._check()
        self.running.pop(instance_id, None)

    async def observe(self) -> Sequence[ObservedInstance]:
        self._check()
        if self.hangs:
            await asyncio.Event().wait()
        return [
            ObservedInstance(instance_id=key, power=Power.RUNNING, labels=spec.labels)
            for key, spec in self.running.items()
        ]

    async def changes(self) -> AsyncIterator[str]:
        self._check()
        for hint in self.hints:
            yield hint
        await asyncio.Event().wait()


class Rig:
    def __init__(self) -> None:
        self.east, self.west, self.europe = self.all = [OneEngine() for _ in range(3)]
        self.engines = self.restarted()

    def restarted(self) -> IncusEngines:
        self.engines = IncusEngines(list(zip(SETTINGS.engines, self.all, strict=True)))  # type: ignore[arg-type]
        return self.engines


@pytest.fixture
def rig() -> Rig:
    return Rig()


def spec(instance_id: str, region: str, **overrides: Any) -> InstanceSpec:
    members: dict[str, Any] = {"cpu_count": 1, "memory_in_mib": 1, "disk_in_gib": 1, "has_internet_access": False}
    members |= {"image_ref": "img", "labels": {"region": region}} | overrides
    return InstanceSpec(instance_id=instance_id, **members)


async def launch_everywhere(rig: Rig) -> None:
    for instance_id, region in (("i-east", "us-east-1"), ("i-west", "us-west-2"), ("i-europe", "eu-west-1")):
        await rig.engines.launch(spec(instance_id, region))


async def test_an_instance_is_launched_seen_and_terminated_where_its_region_is(rig: Rig) -> None:
    await launch_everywhere(rig)
    assert [list(one.running) for one in rig.all] == [["i-east"], ["i-west"], ["i-europe"]]
    assert {one.instance_id for one in await rig.engines.observe()} == {"i-east", "i-west", "i-europe"}
    await rig.restarted().terminate("i-west")
    assert [list(one.running) for one in rig.all] == [["i-east"], [], ["i-europe"]]


async def test_a_region_that_nobody_named_has_the_common_engine(rig: Rig) -> None:
    await rig.engines.launch(spec("i-1", "ap-south-1"))
    await rig.engines.launch(spec("i-2", "", labels={}))
    assert list(rig.east.running) == ["i-1", "i-2"]


async def test_an_engine_that_is_away_hides_its_own_regions_only(rig: Rig) -> None:
    await launch_everywhere(rig)
    rig.europe.away = AWAY
    with pytest.raises(PartlyUnavailable, match="The engine of eu-west-1: Incus does not answer") as told:
        await rig.engines.observe()
    assert {one.instance_id for one in told.value.seen} == {"i-east", "i-west"}
    assert told.value.regions == {"us-east-1", "us-west-2"}
    assert list(await observe_in(rig.engines, "us-west-2")) == list(told.value.seen)
    with pytest.raises(PartlyUnavailable):
        await observe_in(rig.engines, "eu-west-1")
    await rig.engines.launch(spec("i-2", "us-east-1"))
    with pytest.raises(DriverUnavailable):
        await rig.engines.launch(spec("i-3", "eu-west-1"))
    rig.east.away = rig.west.away = AWAY
    with pytest.raises(DriverUnavailable) as nothing:
        await rig.engines.observe()
    assert not isinstance(nothing.value, PartlyUnavailable)


async def test_an_engine_that_hangs_does_not_keep_the_others_from_being_seen(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_IN_SECONDS", 0.01)
    await launch_everywhere(rig)
    rig.west.hangs = True
    with pytest.raises(PartlyUnavailable) as told:
        await rig.engines.observe()
    assert {one.instance_id for one in told.value.seen} == {"i-east", "i-europe"}


async def test_an_instance_that_nobody_shows_is_not_taken_for_gone_while_one_is_away(rig: Rig) -> None:
    """Terminating it at another engine would remove the socket directories of an instance that runs."""
    await launch_everywhere(rig)
    rig.europe.away = AWAY
    engines = rig.restarted()
    with pytest.raises(DriverUnavailable):
        await engines.terminate("i-europe")
    await engines.terminate("i-west")  # found, so that nobody else need be asked
    assert list(rig.west.running) == []
    rig.europe.away = None
    await engines.terminate("i-europe")
    await engines.terminate("i-of-nobody")
    assert list(rig.europe.running) == []


async def test_prepared_is_what_answers_and_the_abilities_are_those_of_all(rig: Rig) -> None:
    rig.europe.enforces_disk_quota = False
    await rig.engines.prepare()
    assert rig.engines.capabilities.enforces_disk_quota is False
    rig.europe.away = AWAY
    await rig.engines.prepare()
    assert rig.engines.capabilities.enforces_disk_quota is True
    rig.east.away = rig.west.away = AWAY
    with pytest.raises(DriverUnavailable):
        await rig.engines.prepare()
    with pytest.raises(DriverUnavailable):
        _ = rig.engines.capabilities


async def test_hints_of_all_engines_come_as_one_stream_and_of_one_that_comes_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LISTEN_AGAIN_AFTER_SECONDS", 0.001)
    rig.east.hints, rig.west.hints = ["i-east"], ["i-west"]
    rig.west.away = AWAY
    async with asyncio.timeout(60), aclosing(rig.engines.changes()) as changes:  # type: ignore[type-var]
        assert await anext(changes) == "i-east"
        rig.west.away = None
        assert await anext(changes) == "i-west"


def test_a_partial_sight_passes_the_wire_whole() -> None:
    seen = [ObservedInstance(instance_id="i-1", power=Power.RUNNING, labels={"region": "us-east-1"}, first_uid=5)]
    read = wire.read_error(wire.write_error(PartlyUnavailable("one is away", seen=seen, regions=["us-east-1"])))
    assert isinstance(read, PartlyUnavailable)
    assert (str(read), list(read.seen), read.regions) == ("one is away", seen, {"us-east-1"})


def test_two_incus_on_one_host_never_give_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither knows what the other gave, and it may be away."""
    blocks = list(range(0, 7 * 65_536, 65_536))
    monkeypatch.setattr("fanlight.drivers.incus.shares.blocks_of_host", lambda: blocks)
    sockets = list(dict.fromkeys(engine.settings.incus_socket for engine in SETTINGS.engines))
    parts = [Shares(sockets).blocks_for(socket) for socket in sockets]
    assert [block for part in parts for block in part] == blocks
    assert all(parts)
    assert Shares(sockets[:1]).blocks_for(sockets[0]) == blocks
