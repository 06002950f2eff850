"""The services on a real SQLite store, with a clock that stands still until a test moves it."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from service_rig import HERE, NOW, SAMPLE, Rig, new_fleet

from databases import lay_database
from fanlight.services import AppStreamServices
from fanlight.services.image_files import ImageFiles
from fanlight.services.stacks import NewStack
from fanlight.store import Store, open_store


class StandingClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def advance(self, by: timedelta) -> None:
        self.time += by


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(lay_database(tmp_path / "fanlight.db")) as opened:
        yield opened


@pytest.fixture
async def rig(store: Store, tmp_path: Path) -> Rig:
    """Services over an installation with one public image."""
    clock = StandingClock()
    woken: list[tuple[str, str]] = []
    services = AppStreamServices.build(
        transactions=store.transactions,
        clock=clock,
        wake=lambda kind, key: woken.append((kind, key)),
        image_files=ImageFiles(tmp_path),
        signing_key=b"k" * 32,
        portal_url="https://apps.example.org",
    )
    await services.images.sync_public_images([SAMPLE])
    return Rig(services=services, transactions=store.transactions, clock=clock, woken=woken)


@pytest.fixture
async def pair(rig: Rig) -> Rig:
    """The same with the stack `design` in front of the RUNNING fleet `cad`."""
    await rig.services.stacks.create(HERE, NewStack(name="design"))
    await rig.services.fleets.create(HERE, new_fleet())
    await rig.services.associations.associate(HERE, "design", "cad")
    await rig.run_fleet("cad")
    return rig
