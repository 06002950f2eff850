"""RuntimeValidationConfig on the simulated engine: an imported image is VALIDATING until a trial of it is over."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from simulated_system import SCOPE, System, running_system, stopped_system, until

from fanlight.domain.image_tasks import ImportTask
from fanlight.domain.images import Image, ImageFailure, ImageState, made_ref
from fanlight.drivers.simulated import Faults
from fanlight.reconcilers import ReconcilerSettings
from fanlight.reconcilers.image_sweeps import INSTALLATION_PROPERTY

pytestmark = pytest.mark.timeout(60)
NAME = "imported"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir, faults=Faults()) as made:
        yield made


async def taken(system: System) -> None:
    """Have an image whose archive is in the store, and which is to be tried."""
    image = Image(
        image_id=f"{NAME}-id",
        scope=SCOPE,
        name=NAME,
        store_ref=made_ref(f"{NAME}-id"),
        state=ImageState.IMPORTING,
        created_at=system.clock.now(),
        task=ImportTask(source="bucket/key", is_taken=True, instance_type="stream.standard.large"),
    )
    (system.data_dir / "archive").write_bytes(b"a root file system")
    await system.images.import_rootfs(
        image.store_ref, system.data_dir / "archive", {INSTALLATION_PROPERTY: ReconcilerSettings().installation}
    )
    async with system.transactions.begin(write=True) as work:
        await work.images.add(image)
        await work.commit()
    system.reconcilers.wake("image", image.image_id)


async def becomes(system: System, state: ImageState) -> Image:
    async def probe() -> Image | None:
        async with system.transactions.begin() as work:
            image = await work.images.find(SCOPE, name=NAME)
        return image if image is not None and image.state is state else None

    image: Image = await until(probe, within=20, what=f"the image {state}")
    return image


async def nothing_runs(system: System) -> None:
    async def probe() -> bool:
        return not await system.driver.observe()

    await until(probe, within=20, what="no instance")


async def test_it_is_tried_on_the_type_that_was_asked_for_and_the_instance_goes(system: System) -> None:
    system.driver.faults.never_works = True
    await taken(system)
    assert (await becomes(system, ImageState.VALIDATING)).progress

    async def is_launched() -> bool:
        return bool(await system.driver.observe())

    await until(is_launched, within=10, what="an instance to try it in")
    system.driver.faults.never_works = False
    assert (await becomes(system, ImageState.AVAILABLE)).task is None
    await nothing_runs(system)


async def test_an_application_that_does_not_start_fails_it(system: System) -> None:
    system.driver.faults.failing_work = {"check": "editor: it ended with 127 after 0.3 s"}
    await taken(system)
    failed = await becomes(system, ImageState.FAILED)
    assert failed.failure is ImageFailure.IMAGE_IMPORT_FAILURE
    assert failed.failure_message == "1 of its applications do not start on stream.standard.large."
    assert [error.message for error in failed.errors] == ["The application editor: it ended with 127 after 0.3 s."]
    await nothing_runs(system)


async def test_an_instance_that_does_not_boot_is_replaced_once_and_then_fails_it(system: System) -> None:
    system.driver.faults.fails_to_boot = True
    await taken(system)
    failed = await becomes(system, ImageState.FAILED)
    assert failed.failure_message == "In the trial of the new image: The instance did not come up: a fault was injected"
    await nothing_runs(system)


async def test_an_engine_that_is_full_is_waited_for(system: System) -> None:
    system.driver.faults.capacity = 0
    await taken(system)

    async def waits() -> bool:
        return "waiting for room" in (await becomes(system, ImageState.VALIDATING)).progress

    await until(waits, within=10, what="an image that waits for room")
    system.driver.faults.capacity = None
    system.reconcilers.wake("image", f"{NAME}-id")
    await becomes(system, ImageState.AVAILABLE)


async def test_a_trial_goes_on_after_a_restart_with_the_same_instance(data_dir: Path) -> None:
    async with stopped_system(data_dir, faults=Faults(never_works=True)) as system:
        async with system.reconciling():
            await taken(system)

            async def is_launched() -> bool:
                return bool(await system.driver.observe())

            await until(is_launched, within=10, what="an instance to try it in")
        (before,) = await system.driver.observe()
        await system.agents.close(before.instance_id)
        system.driver.faults.never_works = False
        async with system.reconciling():
            await becomes(system, ImageState.AVAILABLE)
            await nothing_runs(system)
