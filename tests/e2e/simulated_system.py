"""Store, services, reconcilers and the simulated engine in one process: the api half of Fanlight without its listeners."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from databases import lay_database
from e2e.installation import PATIENCE_IN_SECONDS
from fanlight.domain.file_systems import SharedDirectory
from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.images import Image, Visibility
from fanlight.domain.instances import Instance
from fanlight.domain.networks import Networks
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions, UserStorage
from fanlight.domain.quotas import NO_QUOTAS, Quotas
from fanlight.domain.stacks import Stack
from fanlight.domain.streaming_sessions import StreamingGrant, StreamingSession
from fanlight.domain.unsent_files import UnsentFiles
from fanlight.drivers.agents import AgentSockets
from fanlight.drivers.simulated import (
    Faults,
    SimulatedDriver,
    SimulatedImageStore,
    SimulatedSnapshots,
    write_catalogues,
)
from fanlight.drivers.simulated.archives import SimulatedImageArchives
from fanlight.reconcilers import Reconcilers, ReconcilerSettings
from fanlight.reconcilers.image_imports import ArchiveTools
from fanlight.services.bundle import AppStreamServices
from fanlight.services.door_tokens import DoorTokens
from fanlight.services.image_catalogues import read_catalogues
from fanlight.services.image_files import ImageFiles
from fanlight.services.image_workshop import ImageWorkshop
from fanlight.store import Store, open_store

SCOPE = Scope("000000000000", "us-east-1")
NO_NETWORKS = Networks()
IMAGE_ARN = "arn:aws:appstream:us-east-1::image/Fanlight-Sample-Debian13"


class MovableClock:
    """Real time plus what a test adds to it."""

    def __init__(self) -> None:
        self.added = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.added


@dataclass
class System:
    store: Store
    services: AppStreamServices
    make_reconcilers: Callable[[], Reconcilers]
    driver: SimulatedDriver
    images: SimulatedImageStore
    agents: AgentSockets
    clock: MovableClock
    data_dir: Path
    changes: list[StreamingSession] = field(default_factory=list)
    idled: list[StreamingSession] = field(default_factory=list)
    lost: list[tuple[str, UnsentFiles]] = field(default_factory=list)  # session ids and what was given up
    reconcilers: Reconcilers = field(init=False)
    services_with: Callable[[Quotas], AppStreamServices] = field(init=False)
    """The same services over the same store, with quotas of one's own."""

    def __post_init__(self) -> None:
        self.reconcilers = self.make_reconcilers()

    @asynccontextmanager
    async def reconciling(self) -> AsyncIterator[None]:
        """Reconcile until the block ends; the next one does it with fresh reconcilers, as after a restart."""
        running = asyncio.create_task(self.reconcilers.run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            self.reconcilers = self.make_reconcilers()

    @property
    def transactions(self) -> Transactions:
        return self.store.transactions

    async def fleet(self, name: str = "cad") -> Fleet:
        async with self.transactions.begin() as work:
            return await work.fleets.get(SCOPE, name)

    async def instances(self) -> list[Instance]:
        async with self.transactions.begin() as work:
            return list(await work.instances.everywhere())

    async def session(self, session_id: str) -> StreamingSession:
        return await self.services.sessions.find(session_id)

    async def make_fleet(self, name: str = "cad", **overrides: Any) -> Fleet:
        """Make a stack and a stopped fleet of one name, associated."""
        members: dict[str, Any] = {
            "fleet_id": f"f-{name}",
            "scope": SCOPE,
            "name": name,
            "image_name": "Fanlight-Sample-Debian13",
            "image_arn": IMAGE_ARN,
            "instance_type": "stream.standard.small",
            "platform": "UBUNTU_PRO_2404",
            "desired_instances": 2,
            "created_at": self.clock.now(),
        }
        scope = overrides.get("scope", SCOPE)
        async with self.transactions.begin(write=True) as work:
            fleet = await work.fleets.add(Fleet(**members | overrides))
            await work.stacks.add(Stack(stack_id=f"s-{name}", scope=scope, name=name, created_at=self.clock.now()))
            await work.associations.add(scope, name, name)
            await work.commit()
        return fleet

    async def change_fleet(self, name: str = "cad", **members: Any) -> None:
        from dataclasses import replace

        async with self.transactions.begin(write=True) as work:
            fleet = await work.fleets.save(replace(await work.fleets.get(SCOPE, name), **members))
            await work.commit()
        self.reconcilers.wake("fleet", fleet.fleet_id)

    async def open(self, user_id: str, fleet: str = "cad", application_id: str = "text-editor") -> StreamingSession:
        grant = StreamingGrant(
            scope=SCOPE,
            stack_name=fleet,
            fleet_name=fleet,
            user_id=user_id,
            application_id=application_id,
            session_context=None,
            expires_at=self.clock.now() + timedelta(minutes=1),
        )
        return await self.services.sessions.open_session(grant, None)

    async def start(self, name: str = "cad") -> Fleet:
        await self.services.fleets.start(SCOPE, name)
        return await self.fleet_becomes(FleetState.RUNNING, name)

    async def fleet_becomes(self, state: FleetState, name: str = "cad", within: float = 20.0) -> Fleet:
        async def probe() -> Fleet | None:
            fleet = await self.fleet(name)
            return fleet if fleet.state is state else None

        fleet: Fleet = await until(probe, within=within, what=f"fleet {name} {state}")
        return fleet

    async def session_becomes(
        self, session_id: str, probe: Callable[[StreamingSession], bool], within: float = 20.0
    ) -> StreamingSession:
        async def look() -> StreamingSession | None:
            session = await self.session(session_id)
            return session if probe(session) else None

        session: StreamingSession = await until(look, within=within, what=f"session {session_id}")
        return session

    async def settle(self) -> None:
        """Return when nothing is being worked on. What waits for its time, waits."""
        while not self.reconcilers.is_idle:
            await asyncio.sleep(0.001)

    async def pass_time(self, duration: timedelta) -> None:
        """Move the clock and let everything that falls due happen."""
        self.clock.added += duration
        await self.reconcilers.tick()
        await self.settle()


async def until(probe: Callable[[], Awaitable[Any]], *, within: float, what: str) -> Any:
    deadline = asyncio.get_running_loop().time() + max(within, PATIENCE_IN_SECONDS)
    while True:
        if answer := await probe():
            return answer
        assert asyncio.get_running_loop().time() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def running_system(data_dir: Path, **options: Any) -> AsyncIterator[System]:
    """Run everything over `data_dir`; what an earlier run left there goes on. Options are those of `stopped_system`."""
    async with stopped_system(data_dir, **options) as system, system.reconciling():
        yield system


@asynccontextmanager
async def stopped_system(
    data_dir: Path,
    *,
    boot_seconds: float = 0.0,
    faults: Faults | None = None,
    around: Callable[[Any], Any] = lambda part: part,
    networks: Networks = NO_NETWORKS,
    file_systems: Sequence[SharedDirectory] = (),
    regions: tuple[str, ...] = (SCOPE.region,),
    storage: UserStorage | None = None,
    **settings: Any,
) -> AsyncIterator[System]:
    """Make everything over `data_dir`; nothing is reconciled but within `System.reconciling`.

    `around` may wrap what the reconcilers use: transactions, driver, image store and agents.
    """
    run_dir = data_dir / "run"
    image_files = ImageFiles(data_dir)
    clock = MovableClock()
    write_catalogues(data_dir / "images")
    images = SimulatedImageStore(data_dir / "images")
    archives = SimulatedImageArchives(data_dir / "archives", images)
    driver = SimulatedDriver(
        data_dir=data_dir, run_dir=run_dir, images=images, boot_seconds=boot_seconds, faults=faults, networks=networks
    )
    agents = AgentSockets(run_dir, clock)
    store = open_store(lay_database(data_dir / "state" / "fanlight.db"))
    async with store:
        workshop = ImageWorkshop(
            driver=around(driver), agents=around(agents), clock=clock, installation=ReconcilerSettings().installation
        )
        changes: list[StreamingSession] = []
        idled: list[StreamingSession] = []
        lost: list[tuple[str, UnsentFiles]] = []

        def make_reconcilers() -> Reconcilers:
            return Reconcilers(
                transactions=around(store.transactions),
                driver=around(driver),
                image_store=around(images),
                image_files=image_files,
                agents=around(agents),
                clock=clock,
                networks=networks,
                file_systems=file_systems,
                workshop=workshop,
                snapshots=around(SimulatedSnapshots(driver)),
                storage=storage,
                door_tokens=DoorTokens(b"k" * 32),
                archives=ArchiveTools(archives=archives, objects=None, icons=image_files),
                settings=ReconcilerSettings(
                    **{"shortest_backoff": timedelta(milliseconds=50), "capacity_wait": timedelta(seconds=5)} | settings
                ),
                session_changed=changes.append,
                session_idled=idled.append,
                files_lost=lambda session, files: lost.append((session.session_id, files)),
            )

        system: System

        def services_with(quotas: Quotas) -> AppStreamServices:
            return AppStreamServices.build(
                transactions=around(store.transactions),
                clock=clock,
                wake=lambda kind, key: system.reconcilers.wake(kind, key),  # noqa: PLW0108 - each run has reconcilers of its own
                image_files=image_files,
                signing_key=b"k" * 32,
                portal_url="http://localhost:8080",
                regions=regions,
                workshop=workshop,
                quotas=quotas,
            )

        services = services_with(NO_QUOTAS)
        await _import_images(store.transactions, data_dir / "images", clock.now())
        await driver.prepare()
        system = System(
            store, services, make_reconcilers, driver, images, agents, clock, data_dir, changes, idled, lost
        )
        system.services_with = services_with
        try:
            yield system
        finally:
            await agents.close_all()
            await driver.close()


async def _import_images(transactions: Transactions, images_dir: Path, now: datetime) -> None:
    manifests, complaints = read_catalogues(images_dir)
    assert not complaints
    async with transactions.begin(write=True) as work:
        known = {image.name for image in await work.images.visible(SCOPE)}
        for manifest in manifests:
            if manifest.name not in known:
                await work.images.add(
                    Image(
                        image_id=manifest.store_ref,
                        scope=Scope("", ""),
                        name=manifest.name,
                        store_ref=manifest.store_ref,
                        visibility=Visibility.PUBLIC,
                        image_builder_supported=True,
                        applications=manifest.applications,
                        created_at=now,
                    )
                )
        await work.commit()
