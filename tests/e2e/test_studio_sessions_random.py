"""Random sequences over streaming images and sessions on the simulated engine, each step foretold.

The oracle knows states, and which machine has which disk and backup; it knows nothing of rows and reconcilers. Nothing is
reconciled but in its own step, each time by fresh reconcilers, as after a restart. A sequence that fails is printed with its seed.
"""

import random
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from simulated_system import SCOPE, System, stopped_system, until
from test_studio_sessions_simulated import LASTING, STUDIO, backups, call, create, machines, now_is

from fanlight.domain.errors import DomainError, NotAvailable
from fanlight.domain.nimble.resources import ResourceState, Status
from fanlight.domain.nimble.session_backups import SessionBackup
from fanlight.domain.nimble.sessions import IN_TRANSITION, StudioSession, StudioSessionState, VolumeRetention
from fanlight.domain.nimble.studios import Studio
from fanlight.services.nimble.streaming_images import NewStreamingImage

pytestmark = pytest.mark.timeout(240)

SEEDS, STEPS = range(8), 20
SETTLING = 0.7  # how often what was wished comes about before the next wish
_S = StudioSessionState
SETTLED = {
    "CREATE_IN_PROGRESS": "READY",
    "UPDATE_IN_PROGRESS": "READY",
    "START_IN_PROGRESS": "READY",
    "STOP_IN_PROGRESS": "STOPPED",
    "DELETE_IN_PROGRESS": "DELETED",
}


@dataclass
class Foretold:
    """`disk` is the machine with the disk in use, None: the next start has a fresh one. `backups`: the machine of each."""

    session: StudioSession
    state: str = "CREATE_IN_PROGRESS"
    disk: str | None = None
    backups: list[str] = field(default_factory=list)
    drops_disk: bool = False


class World:
    def __init__(self, system: System, seed: int, ami_id: str) -> None:
        self.system, self.random, self.ami_id = system, random.Random(seed), ami_id
        self.sessions: list[Foretold] = []
        self.images: dict[str, str] = {}  # id → state
        self.story: list[str] = [f"seed {seed}"]

    async def tried(self, what: str, wish: Awaitable[object]) -> str:
        """Return "done" or the kind of the refusal."""
        try:
            await wish
        except DomainError as error:
            self.story.append(f"{what}: {error}")
            return type(error).__name__
        self.story.append(what)
        return "done"

    # ── Steps ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def make_session(self) -> None:
        if len(self.sessions) < 2:
            self.sessions.append(Foretold(await create(self.system, LASTING)))
            self.story.append("create")

    async def turn(self) -> None:
        """Wish what is possible, so that sequences get somewhere."""
        if self.sessions:
            one = self.random.choice(self.sessions)
            await (self.stop(one) if one.state == "READY" else self.start(one))

    async def stop(self, one: Foretold | None = None) -> None:
        if not self.sessions:
            return
        one, retention = one or self.random.choice(self.sessions), self.random.choice(list(VolumeRetention))
        wish = self.system.services.nimble.sessions.stop(call("stop"), STUDIO, one.session.session_id, retention)
        said = await self.tried(f"stop {one.session.session_id} {retention}", wish)
        if one.state == "READY":
            assert said == "done"
            one.state, one.drops_disk = "STOP_IN_PROGRESS", retention is VolumeRetention.DELETE
        else:
            assert said == ("done" if one.state in ("STOPPED", "STOP_IN_PROGRESS") else NotAvailable.__name__)

    async def start(self, one: Foretold | None = None) -> None:
        if not self.sessions:
            return
        one = one or self.random.choice(self.sessions)
        known = await self._usable_backups(one)
        backup = self.random.choice([None, *known])
        backup_id = backup.backup_id if backup else None
        wish = self.system.services.nimble.sessions.start(call("start"), STUDIO, one.session.session_id, backup_id)
        said = await self.tried(f"start {one.session.session_id} {backup_id}", wish)
        if one.state == "STOPPED":
            assert said == "done"
            one.state = "START_IN_PROGRESS"
            one.disk = backup.instance_id if backup else one.disk
        else:
            assert said == ("done" if one.state == "START_IN_PROGRESS" else NotAvailable.__name__)

    async def delete(self) -> None:
        if not self.sessions:
            return
        one = self.random.choice(self.sessions)
        wish = self.system.services.nimble.sessions.delete(call("delete"), STUDIO, one.session.session_id)
        said = await self.tried(f"delete {one.session.session_id}", wish)
        if one.state in ("READY", "STOPPED"):
            one.state = "DELETE_IN_PROGRESS"
        is_let = one.state in ("DELETE_IN_PROGRESS", "DELETED")
        assert said == ("done" if is_let else NotAvailable.__name__)

    async def change_images(self) -> None:
        service = self.system.services.nimble.streaming_images
        deed = self.random.choice(["create", "update", "delete"])
        if deed == "create" or not self.images:
            wanted = NewStreamingImage(studio_id=STUDIO, ec2_image_id=self.ami_id, name="artists")
            made, _ = await service.create(call("image"), wanted)
            self.images[made.resource_id] = "CREATE_IN_PROGRESS"
            return
        image_id, state = self.random.choice(list(self.images.items()))
        wish = (
            service.update(call("image"), STUDIO, image_id, name="others", description=None)
            if deed == "update"
            else service.delete(call("image"), STUDIO, image_id)
        )
        said = await self.tried(f"{deed} image {image_id}", wish)
        if state == "READY":
            self.images[image_id] = f"{deed.upper()}_IN_PROGRESS"
        is_repeated = deed == "delete" and state in ("DELETE_IN_PROGRESS", "DELETED")
        assert said == ("done" if state == "READY" or is_repeated else NotAvailable.__name__)

    async def settle(self) -> None:
        """Let everything come about, then look whether it is as foretold."""
        self.story.append("settle")
        async with self.system.reconciling():
            await until(self._is_settled, within=20, what="everything settled")
        for one in self.sessions:
            await self._foresee(one)
            shown = await now_is(self.system, one.session)
            assert (shown.session_id, shown.state) == (one.session.session_id, one.state)
            assert one.disk in (None, shown.instance_id)
            kept = await backups(self.system, one.session)
            assert [backup.instance_id for backup in kept] == one.backups
            assert all(backup.state is _S.READY for backup in kept)
            assert {*one.backups, *filter(None, [one.disk])} <= set(await machines(self.system))
        for image_id, state in self.images.items():
            self.images[image_id] = SETTLED.get(state, state)
            image, _ = await self.system.services.nimble.streaming_images.get(SCOPE, STUDIO, image_id)
            assert image.state == self.images[image_id]

    # ── The oracle ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _foresee(self, one: Foretold) -> None:
        before, one.state = one.state, SETTLED.get(one.state, one.state)
        if before == "STOP_IN_PROGRESS":
            assert one.disk is not None
            one.backups = [*one.backups, one.disk][-LASTING.backups_to_retain :]
            one.disk = None if one.drops_disk else one.disk
        elif one.state == "DELETED":
            one.disk, one.backups = None, []
        elif one.state == "READY" and one.disk is None:
            one.disk = (await now_is(self.system, one.session)).instance_id  # a fresh one, whose name nobody could know

    async def _is_settled(self) -> bool:
        for one in self.sessions:
            if (await now_is(self.system, one.session)).state in IN_TRANSITION:
                return False
            if any(backup.state in IN_TRANSITION for backup in await backups(self.system, one.session)):
                return False
        for image_id in self.images:
            image, _ = await self.system.services.nimble.streaming_images.get(SCOPE, STUDIO, image_id)
            if image.state.endswith("_IN_PROGRESS"):
                return False
        return self.system.reconcilers.is_idle

    async def _usable_backups(self, one: Foretold) -> list[SessionBackup]:
        return [backup for backup in await backups(self.system, one.session) if backup.state is _S.READY]


async def add_studio(system: System) -> str:
    """Add the studio, as if it had been created; return the identifier of the sample image."""
    now = system.clock.now()
    async with system.transactions.begin(write=True) as work:
        await work.nimble.resources.add(
            Studio(
                resource_id=STUDIO, studio_id=STUDIO, scope=SCOPE, state=ResourceState.READY, status=Status(code="STUDIO_CREATED"),
                created_at=now, updated_at=now, state_since=now, name="lumen", display_name="Lumen",
                admin_role_arn="arn:aws:iam::000000000000:role/a", user_role_arn="arn:aws:iam::000000000000:role/u",
                portal_url="http://localhost:8080", sso_client_id="client",
            )
        )  # fmt: skip
        (image, *_) = await work.images.everywhere()
        await work.commit()
    return image.ami_id


async def test_every_step_of_random_sequences_ends_as_foretold() -> None:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        async with stopped_system(Path(path)) as system:
            ami_id = await add_studio(system)
            for seed in SEEDS:
                await live(World(system, seed, ami_id))


async def live(world: World) -> None:
    steps = [
        world.make_session, *(world.turn,) * 6, world.stop, world.start, world.delete, world.change_images,
    ]  # fmt: skip
    try:
        for _ in range(STEPS):
            await world.random.choice(steps)()
            if world.random.random() < SETTLING:
                await world.settle()
        await world.settle()
        for one in world.sessions:
            if one.state != "DELETED":
                await world.system.services.nimble.sessions.delete(call("end"), STUDIO, one.session.session_id)
                one.state = "DELETE_IN_PROGRESS"
        await world.settle()
        async with world.system.reconciling():
            await world.system.pass_time(timedelta(minutes=1))
            await until(lambda: _is_empty(world.system), within=20, what="no machine left")
    except AssertionError as error:
        raise AssertionError("\n".join([*world.story, str(error)])) from error


async def _is_empty(system: System) -> bool:
    return not await machines(system)
