"""How much a user has stored, as it is counted between two looks, and when it is looked at again."""

import asyncio
from dataclasses import dataclass, field

import pytest

from fanlight.domain.errors import StorageUnusable
from fanlight.storage import usage as module
from fanlight.storage.usage import Usage


@dataclass
class Prefix:
    """What is stored, and a clock. A look takes `takes` seconds and waits until it may go on."""

    stored: int = 0
    now: float = 1000.0
    takes: float = 0.0
    looks: int = 0
    is_away: bool = False
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def measure(self) -> int:
        self.looks += 1
        await self.may_go_on.wait()
        self.now += self.takes
        if self.is_away:
            raise StorageUnusable("away")
        return self.stored

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> Prefix:
    made = Prefix(stored=600)
    made.may_go_on.set()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def usage(prefix: Prefix) -> Usage:
    return Usage(prefix.measure, 1000)


async def test_what_is_known_is_said_at_once_and_looked_at_meanwhile(prefix: Prefix, usage: Usage) -> None:
    assert await usage.used_as_known() == 600, "the first time it is waited for"
    prefix.stored, prefix.now = 700, prefix.now + 61
    prefix.may_go_on.clear()
    assert [await usage.used_as_known() for _ in range(3)] == [600] * 3
    await asyncio.sleep(0)
    prefix.may_go_on.set()
    assert await usage.left() == 300
    assert await usage.used_as_known() == 700
    assert prefix.looks == 2


async def test_a_look_that_takes_long_is_good_for_longer(prefix: Prefix, usage: Usage) -> None:
    prefix.takes = 10
    await usage.left()
    prefix.now += 590
    await usage.left()
    assert prefix.looks == 1
    prefix.now += 20
    await usage.left()
    assert prefix.looks == 2


async def test_a_doubt_is_looked_into_but_not_all_the_time(prefix: Prefix, usage: Usage) -> None:
    await usage.left()
    usage.forget()
    await usage.left()
    assert prefix.looks == 1, "that was a moment ago"
    prefix.now += 3
    await usage.left()
    await usage.left()
    assert prefix.looks == 2


async def test_endpoint_that_is_away_leaves_what_is_known(prefix: Prefix, usage: Usage) -> None:
    prefix.is_away = True
    with pytest.raises(StorageUnusable):
        await usage.used_as_known()
    prefix.is_away = False
    assert await usage.used_as_known() == 600
    prefix.is_away, prefix.now = True, prefix.now + 61
    for _ in range(3):
        assert await usage.used_as_known() == 600
        await asyncio.sleep(0)
