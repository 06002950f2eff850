"""CreateUpdatedImage on the simulated engine: its states, its failures, and that nothing is left of either."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from simulated_system import SCOPE, System, running_system, stopped_system, until

from fanlight.domain.errors import (
    AlreadyExists,
    IncompatibleImage,
    LimitExceeded,
    NotAvailable,
    NotFound,
    NotPermitted,
    TransitionRefused,
)
from fanlight.domain.image_builders import ImageBuilder, ImageBuilderState
from fanlight.domain.images import Image, ImageFailure, ImageState, Visibility
from fanlight.domain.places import Scope
from fanlight.domain.quotas import IMAGE_UPDATES, Quotas
from fanlight.drivers.simulated import Faults
from fanlight.services import image_updates
from fanlight.services.image_updates import NewImage
from fanlight.services.quotas import QuotaKeeper

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir, faults=Faults()) as made:
        await own_image(made)
        yield made


async def own_image(system: System, name: str = "office", **members: object) -> Image:
    """Give the account an image of its own: what the public one has."""
    async with system.transactions.begin(write=True) as work:
        public = await work.images.find(SCOPE, name="Fanlight-Sample-Debian13")
        assert public is not None
        given = {"agent_version": "LATEST", "store_ref": public.store_ref, **members}
        image = Image(
            image_id=f"{name}-id",
            scope=SCOPE,
            name=name,
            visibility=Visibility.PRIVATE,
            applications=public.applications,
            created_at=system.clock.now(),
            **given,  # type: ignore[arg-type]
        )
        image = await work.images.add(image)
        await work.commit()
    return image


async def find(system: System, name: str) -> Image:
    async with system.transactions.begin() as work:
        image = await work.images.find(SCOPE, name=name)
    assert image is not None
    return image


async def becomes(system: System, name: str, state: ImageState) -> Image:
    async def probe() -> Image | None:
        image = await find(system, name)
        return image if image.state is state else None

    image: Image = await until(probe, within=20, what=f"image {name} {state}")
    return image


async def builders(system: System) -> list[ImageBuilder]:
    async with system.transactions.begin() as work:
        return list(await work.image_builders.everywhere())


async def nothing_is_left(system: System) -> None:
    async def probe() -> bool:
        return not await system.driver.observe() and not await builders(system)

    await until(probe, within=20, what="no instance and no image builder")


async def test_an_image_is_updated_once_and_then_is_current(system: System) -> None:
    updates, before = system.services.image_updates, await find(system, "office")
    assert await updates.can_update(SCOPE, "office")
    wanted = NewImage(name="office-2", description="newer", display_name="Office 2", tags={"Team": "CAD"})
    begun = await updates.create(SCOPE, "office", wanted)
    assert (begun.state, begun.image_builder_name, begun.base_image_arn) == (
        ImageState.CREATING,
        None,
        before.arn_in("us-east-1"),
    )
    (builder,) = await builders(system)
    assert re.fullmatch(r"office-2-[0-9]{10}", builder.name)
    assert builder.state in (ImageBuilderState.UPDATING, ImageBuilderState.PENDING_QUALIFICATION)
    made = await becomes(system, "office-2", ImageState.AVAILABLE)
    assert (made.description, made.display_name, made.applications) == ("newer", "Office 2", before.applications)
    assert (made.task, made.progress, made.errors) == (None, "", ())
    async with system.transactions.begin() as work:
        assert await work.tags.of(made.arn_in("us-east-1")) == {"Team": "CAD"}
    assert not await updates.can_update(SCOPE, "office-2")
    assert await find(system, "office") == before
    await nothing_is_left(system)


async def test_the_image_builder_of_an_update_says_how_far_it_is_and_is_not_for_use(system: System) -> None:
    system.driver.faults.never_works = True
    await system.services.image_updates.create(SCOPE, "office", NewImage(name="office-2"))
    (builder,) = await builders(system)
    assert builder.state is ImageBuilderState.UPDATING
    for act in (system.services.image_builders.start, system.services.image_builders.stop):
        with pytest.raises((NotPermitted, NotAvailable, TransitionRefused)):
            await act(SCOPE, builder.name)  # type: ignore[operator]
    assert await builders(system) == [builder]
    system.driver.faults.never_works = False
    await becomes(system, "office-2", ImageState.AVAILABLE)
    assert await builders(system) == []


async def test_an_older_runtime_is_an_update_too_and_the_new_image_has_the_newest(system: System) -> None:
    await own_image(system, "pinned", agent_version="01-01-2020-0000", store_ref="no-such-image")
    assert await system.services.image_updates.can_update(SCOPE, "pinned"), "without asking any package repository"
    begun = await system.services.image_updates.create(SCOPE, "pinned", NewImage(name="pinned-2"))
    assert begun.agent_version.startswith("simulated-")


async def test_a_new_image_pins_the_newest_runtime_and_is_tried_with_it(system: System) -> None:
    system.driver.faults.never_works = True
    begun = await system.services.image_updates.create(SCOPE, "office", NewImage(name="office-2"))
    assert begun.agent_version.startswith("simulated-"), "pinned, though the source always takes the newest"
    tried: set[str | None] = set()
    system.driver.faults.never_works = False

    async def is_made() -> bool:
        seen = await system.driver.observe()
        tried.update(one.labels.get("runtime_version") for one in seen if one.labels["work"] == "qualification")
        return (await find(system, "office-2")).state is ImageState.AVAILABLE

    await until(is_made, within=20, what="office-2 AVAILABLE")
    assert tried == {begun.agent_version}


async def test_an_application_that_does_not_start_fails_the_image_and_nothing_is_left_of_it(system: System) -> None:
    before = await find(system, "office")
    system.driver.faults.failing_work = {"check": "firefox: it ended with 127 after 0.3 s"}
    await system.services.image_updates.create(SCOPE, "office", NewImage(name="office-2"))
    failed = await becomes(system, "office-2", ImageState.FAILED)
    assert failed.failure is ImageFailure.IMAGE_UPDATE_FAILURE
    assert failed.failure_message == "1 of its applications do not start after the update."
    assert [error.message for error in failed.errors] == ["The application firefox: it ended with 127 after 0.3 s."]
    assert await find(system, "office") == before
    await nothing_is_left(system)


async def test_an_upgrade_that_fails_says_why(system: System) -> None:
    system.driver.faults.failing_work = {"upgrade": "update ended with 100: no route to host"}
    await system.services.image_updates.create(SCOPE, "office", NewImage(name="office-2"))
    failed = await becomes(system, "office-2", ImageState.FAILED)
    assert failed.failure_message == "The packages could not be updated: update ended with 100: no route to host"
    await nothing_is_left(system)


async def test_an_instance_that_does_not_come_up_is_replaced_once(system: System) -> None:
    system.driver.faults.fails_to_boot = True
    await system.services.image_updates.create(SCOPE, "office", NewImage(name="office-2"))
    failed = await becomes(system, "office-2", ImageState.FAILED)
    assert failed.failure_message == "In the upgrade: The instance did not come up: a fault was injected"
    await nothing_is_left(system)


async def test_an_update_goes_on_after_a_restart(data_dir: Path) -> None:
    async with stopped_system(data_dir, faults=Faults(never_works=True)) as system:
        await own_image(system)
        async with system.reconciling():
            await system.services.image_updates.create(SCOPE, "office", NewImage(name="office-2"))

            async def is_launched() -> bool:
                return bool(await system.driver.observe())

            await until(is_launched, within=10, what="an instance to work in")
        instance_id = (await system.driver.observe())[0].instance_id
        await system.agents.close(instance_id)
        system.driver.faults.never_works = False
        async with system.reconciling():
            await becomes(system, "office-2", ImageState.AVAILABLE)
            await nothing_is_left(system)


async def test_a_look_that_nobody_waits_for_any_more_leaves_no_instance(system: System) -> None:
    system.driver.faults.never_works = True
    looking = asyncio.create_task(system.services.image_updates.can_update(SCOPE, "office"))

    async def is_launched() -> bool:
        return bool(await system.driver.observe())

    await until(is_launched, within=10, what="an instance to look in")
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    assert not await system.driver.observe()


async def test_a_look_without_an_answer_in_time_is_an_error(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.driver.faults.never_works = True
    monkeypatch.setattr(image_updates, "LOOK_LIMIT", system.clock.now() - system.clock.now())
    with pytest.raises(NotAvailable, match=r"could not be found out within 0 s\. Try again\."):
        await system.services.image_updates.can_update(SCOPE, "office")
    await nothing_is_left(system)


async def test_a_look_that_cannot_know_says_so(system: System) -> None:
    system.driver.faults.failing_work = {
        "look": "the image has no apt: only images of the Debian family can be updated"
    }
    with pytest.raises(IncompatibleImage, match="The image office cannot be updated: the image has no apt"):
        await system.services.image_updates.can_update(SCOPE, "office")


async def test_only_own_images_that_are_available_are_updated(system: System) -> None:
    updates = system.services.image_updates
    await own_image(system, "broken", state=ImageState.FAILED, store_ref="img-broken")
    for look_or_make in (updates.can_update, lambda *named: updates.create(*named, NewImage(name="new"))):
        with pytest.raises(NotFound):
            await look_or_make(SCOPE, "nothing")
        with pytest.raises(NotPermitted, match="only own images"):
            await look_or_make(SCOPE, "Fanlight-Sample-Debian13")
        with pytest.raises(NotAvailable, match="is FAILED"):
            await look_or_make(SCOPE, "broken")
        with pytest.raises(NotFound):
            await look_or_make(Scope("111111111111", "us-east-1"), "office")
    with pytest.raises(AlreadyExists):
        await updates.create(SCOPE, "office", NewImage(name="broken"))


async def test_concurrent_updates_have_a_quota(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = system.services.image_updates
    monkeypatch.setattr(updates, "_quotas", QuotaKeeper(Quotas({IMAGE_UPDATES: 2})))
    system.driver.faults.never_works = True
    for number in range(2):
        await updates.create(SCOPE, "office", NewImage(name=f"office-{number}"))
    with pytest.raises(LimitExceeded, match="Requested: 3, Limit: 2"):
        await updates.create(SCOPE, "office", NewImage(name="office-3"))
    system.driver.faults.never_works = False
    await becomes(system, "office-1", ImageState.AVAILABLE)
    await updates.create(SCOPE, "office", NewImage(name="office-3"))
