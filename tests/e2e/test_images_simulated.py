"""Images that are made here, from the builder to the fleet and to their end, on the simulated engine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.errors import CapacityExhausted, DriverUnavailable
from fanlight.domain.fleets import FleetState
from fanlight.domain.image_builders import ImageBuilderState
from fanlight.domain.image_requests import ImageAnswer, ImageRequest, RequestedApplication
from fanlight.domain.images import Image, ImageState, made_ref
from fanlight.domain.places import Scope
from fanlight.domain.stacks import Stack
from fanlight.domain.streaming_sessions import SessionState, StreamingGrant
from fanlight.drivers.simulated import SimulatedImageStore
from fanlight.reconcilers.image_builds import LONGEST_BUILD
from fanlight.services.fleet_wishes import NewFleet
from fanlight.services.image_builders import NewImageBuilder

pytestmark = pytest.mark.timeout(60)

THEM = Scope("222222222222", SCOPE.region)
ARN = SCOPE.arn("image/Cad")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir) as made:
        yield made


async def refs(data_dir: Path) -> list[str]:
    stored = await SimulatedImageStore(data_dir / "images").observe()
    return [image.ref for image in stored if image.ref.startswith("img-")]


async def find(system: System, name: str = "Cad") -> Image | None:
    async with system.transactions.begin() as work:
        return await work.images.find(SCOPE, name=name)


async def becomes(system: System, state: ImageState) -> Image:
    async def probe() -> Image | None:
        found = await find(system)
        return found if found is not None and found.state is state else None

    found: Image = await until(probe, within=20, what=f"image {state}")
    return found


async def request_image(system: System) -> ImageAnswer:
    """Start a builder and do what its Image Assistant does."""
    builders = system.services.image_builders
    wanted = NewImageBuilder(name="bench", instance_type="stream.standard.small", image_name="Fanlight-Base-Debian13")
    made = await builders.create(SCOPE, wanted)

    async def is_running() -> bool:
        return (await builders.describe(SCOPE, names=["bench"]))[0][0].state is ImageBuilderState.RUNNING

    await until(is_running, within=20, what="the builder RUNNING")
    application = RequestedApplication(name="gimp", display_name="GIMP", launch_path="/usr/bin/gimp")
    return await system.services.image_requests.create_image_from_builder(
        ImageRequest(instance_id=made.instance_id, request_id="r-1", name="Cad", applications=(application,))
    )


async def make_image(system: System) -> Image:
    assert await request_image(system) == ImageAnswer()
    return await becomes(system, ImageState.AVAILABLE)


async def begin_fleet(system: System, scope: Scope) -> None:
    wanted = NewFleet(
        name="office", instance_type="stream.standard.small", desired_instances=2, image_arn=ARN, image_name=None
    )
    await system.services.fleets.create(scope, wanted)
    async with system.transactions.begin(write=True) as work:
        await work.stacks.add(Stack(stack_id="office", scope=scope, name="office", created_at=system.clock.now()))
        await work.associations.add(scope, "office", "office")
        await work.commit()
    await system.services.fleets.start(scope, "office")

    async def is_running() -> bool:
        return (await system.services.fleets.describe(scope))[0][0].fleet.state is FleetState.RUNNING

    await until(is_running, within=20, what="the fleet RUNNING")


async def test_an_image_of_a_builder_runs_a_fleet_and_leaves_nothing_when_deleted(
    system: System, data_dir: Path
) -> None:
    image = await make_image(system)
    assert (image.task, image.progress, image.store_ref) == (None, "", made_ref(image.image_id))
    assert image.size_in_bytes
    assert await refs(data_dir) == [image.store_ref]
    await begin_fleet(system, SCOPE)
    assert {instance.image_ref for instance in await system.instances()} == {image.store_ref}
    pins = {one.labels.get("runtime_version") for one in await system.driver.observe() if "fleet" in one.labels}
    assert pins == {image.agent_version}, "an image keeps the agent that it was made with"
    await system.services.fleets.stop(SCOPE, "office")

    async def no_instances() -> bool:
        return not await system.instances()

    await until(no_instances, within=20, what="no instances")
    async with system.transactions.begin(write=True) as work:
        await work.associations.remove(SCOPE, "office", "office")
        await work.commit()

    async def fleet_deleted() -> bool:
        (described,), _ = await system.services.fleets.describe(SCOPE)
        if described.fleet.state is not FleetState.STOPPED:
            return False
        await system.services.fleets.delete(SCOPE, "office")
        return True

    await until(fleet_deleted, within=20, what="the fleet deleted")
    await system.services.images.delete(SCOPE, "Cad")

    async def gone() -> bool:
        return await find(system) is None

    await until(gone, within=20, what="the image gone")
    assert await refs(data_dir) == []


async def test_an_image_that_cannot_be_kept_fails_and_frees_its_builder(
    system: System, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_room(*_: object) -> None:
        raise CapacityExhausted("The pool is full.")

    monkeypatch.setattr(SimulatedImageStore, "publish", no_room)
    assert await request_image(system) == ImageAnswer()
    failed = await becomes(system, ImageState.FAILED)
    assert (failed.failure_message, [error.message for error in failed.errors]) == (
        "The pool is full.",
        ["The pool is full."],
    )

    async def is_stopped() -> bool:
        (builder,), _ = await system.services.image_builders.describe(SCOPE)
        return builder.state is ImageBuilderState.STOPPED

    await until(is_stopped, within=20, what="the builder STOPPED")
    assert await refs(data_dir) == []


async def test_an_image_that_the_engine_never_finishes_fails_one_day(
    system: System, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> None:
        raise DriverUnavailable("The engine did not finish it within an hour.")

    monkeypatch.setattr(SimulatedImageStore, "publish", hangs)
    assert await request_image(system) == ImageAnswer()

    async def is_packed() -> bool:
        found = await find(system)
        return found is not None and found.progress == "packing the root file system"

    await until(is_packed, within=20, what="an image that is being packed")
    await system.pass_time(LONGEST_BUILD)
    assert (await becomes(system, ImageState.FAILED)).failure_message == "It was not finished within 4 hours."
    assert await refs(data_dir) == []


async def test_what_no_row_wants_is_swept_and_what_is_not_ours_stays(data_dir: Path) -> None:
    async with running_system(data_dir) as system:
        image = await make_image(system)
    store = SimulatedImageStore(data_dir / "images")
    await store.copy(image.store_ref, "img-stray", SCOPE.region)
    store._keep("img-foreign", {"size_in_bytes": 1, "properties": {"fanlight.installation": "another"}})
    async with running_system(data_dir):

        async def swept() -> bool:
            return await refs(data_dir) == sorted(["img-foreign", image.store_ref])

        await until(swept, within=20, what="the stray swept")


async def test_an_image_whose_task_nobody_knows_ends_failed(system: System) -> None:
    orphan = Image(
        image_id="1" * 32,
        scope=SCOPE,
        name="Cad",
        store_ref=made_ref("1" * 32),
        state=ImageState.IMPORTING,
        created_at=system.clock.now(),
    )
    async with system.transactions.begin(write=True) as work:
        await work.images.add(orphan)
        await work.commit()
    await system.pass_time(timedelta(minutes=1))
    assert "does not know how" in (await becomes(system, ImageState.FAILED)).failure_message


async def test_who_loses_an_image_keeps_their_sessions_and_no_free_instance(system: System) -> None:
    image = await make_image(system)
    sharing = system.services.image_sharing
    await sharing.update(SCOPE, "Cad", THEM.account_id, allow_fleet=True)
    await begin_fleet(system, THEM)
    grant = StreamingGrant(
        scope=THEM,
        stack_name="office",
        fleet_name="office",
        user_id="ada",
        application_id="gimp",
        session_context=None,
        expires_at=system.clock.now() + timedelta(minutes=1),
    )
    session = await system.services.sessions.open_session(grant, None)
    await system.session_becomes(session.session_id, lambda s: s.state is SessionState.ACTIVE)
    await sharing.delete(SCOPE, "Cad", THEM.account_id)

    async def only_the_used_one() -> bool:
        await system.pass_time(timedelta(seconds=1))
        return [len(i.session_ids) for i in await system.instances()] == [1]

    await until(only_the_used_one, within=20, what="no free instance")
    await system.pass_time(timedelta(minutes=1))
    assert (await system.session(session.session_id)).state is SessionState.ACTIVE
    (described,), _ = await system.services.fleets.describe(THEM)
    assert (described.fleet.desired_instances, described.fleet.state) == (0, FleetState.RUNNING)
    assert (await find(system)) == replace(image, version=image.version)


def fanlight(*words: str, data_dir: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FANLIGHT_")}
    done = subprocess.run(
        [sys.executable, "-m", "fanlight", *words, "--data-dir", str(data_dir)],
        env=kept | {"FANLIGHT_COMPUTE": "simulated", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_command_line_shows_what_was_made_and_what_it_pins(data_dir: Path) -> None:
    async with running_system(data_dir) as system:
        image = await make_image(system)
    (line,) = [line for line in fanlight("images", "list", data_dir=data_dir).splitlines() if line.startswith("Cad ")]
    for shown in ("AVAILABLE", "300 MB", f"ami-{image.image_id[:17]}", SCOPE.account_id, SCOPE.region):
        assert shown in line
    assert fanlight("images", "pins", data_dir=data_dir).split() == [image.agent_version]
