"""CopyImage: what is refused at once, and what stands in the destination's list from the first moment on."""

from dataclasses import replace
from typing import Any

import pytest
from service_rig import HERE, NOW, OTHER_ACCOUNT, OTHER_REGION, SAMPLE, Rig

from fanlight.domain.errors import AlreadyExists, IncompatibleImage, LimitExceeded, NotAvailable, NotFound
from fanlight.domain.image_tasks import CopyTask
from fanlight.domain.images import Application, Image, ImageFailure, ImagePermission, ImageState, Visibility
from fanlight.domain.places import Scope
from fanlight.domain.quotas import read_quotas
from fanlight.services.image_copies import ImageCopyService
from fanlight.services.quotas import QuotaKeeper

REGIONS = (HERE.region, OTHER_REGION.region)


def image(name: str, scope: Scope = HERE, **members: Any) -> Image:
    given: dict[str, Any] = {"image_id": f"{name}-{scope.region}-{scope.account_id}", "store_ref": f"img-{name}"}
    return Image(scope=scope, name=name, created_at=NOW, **(given | members))


async def put(rig: Rig, *images: Image) -> None:
    async with rig.transactions.begin(write=True) as work:
        for one in images:
            await work.images.add(one)
        await work.commit()


async def found(rig: Rig, scope: Scope, name: str) -> Image | None:
    async with rig.transactions.begin() as work:
        return await work.images.find(scope, name=name)


def service(rig: Rig, quotas: str = "off") -> ImageCopyService:
    def wake(kind: str, key: str) -> None:
        rig.woken.append((kind, key))

    return ImageCopyService(rig.transactions, rig.clock, wake, REGIONS, QuotaKeeper(read_quotas(quotas)))


@pytest.mark.parametrize("region", REGIONS)
async def test_a_copy_is_what_its_source_is_and_in_the_destinations_list_at_once(rig: Rig, region: str) -> None:
    source = image(
        "cad",
        display_name="CAD",
        description="Version 7",
        applications=(Application(name="cad", display_name="CAD", launch_path="/usr/bin/cad", icon="cad.png"),),
        base_image_arn="arn:aws:appstream:::image/Base",
        image_builder_name="workbench",
        image_builder_supported=True,
        agent_version="LATEST",
        size_in_bytes=7,
    )
    await put(rig, source)
    await rig.services.tags.tag(HERE, source.arn_in(HERE.region), {"team": "design"})
    copy = await service(rig).copy(HERE, "cad", name="cad-7", region=region)
    there = Scope(HERE.account_id, region)
    assert await found(rig, there, "cad-7") == copy
    assert copy == replace(
        source,
        image_id=copy.image_id,
        scope=there,
        name="cad-7",
        store_ref=f"img-{copy.image_id}",
        version=copy.version,
        state=ImageState.COPYING,
        image_builder_name=None,
        size_in_bytes=None,
        task=CopyTask(source_image_id=source.image_id, source_region=HERE.region),
    )
    assert ("image", copy.image_id) in rig.woken
    assert await rig.services.tags.of(there, copy.arn_in(region)) == {}
    assert await found(rig, HERE, "cad") == source


async def test_a_description_replaces_that_of_the_source_even_when_it_is_empty(rig: Rig) -> None:
    await put(rig, image("cad", description="Version 7"))
    for name, text in (("a", "Mine"), ("b", "")):
        copy = await service(rig).copy(HERE, "cad", name=name, region=HERE.region, description=text)
        assert copy.description == text


async def test_only_available_images_of_ones_own_are_copied(rig: Rig) -> None:
    foreign = image("foreign", OTHER_ACCOUNT)
    making = [image(state.value, state=state) for state in ImageState if state is not ImageState.AVAILABLE]
    failed = replace(image("broken", state=ImageState.FAILED), failure=ImageFailure.INTERNAL_ERROR)
    await put(rig, foreign, image("abroad", OTHER_REGION), *making, failed)
    async with rig.transactions.begin(write=True) as work:
        await work.image_permissions.put(
            ImagePermission(
                image_id=foreign.image_id,
                shared_account_id=HERE.account_id,
                allow_fleet=True,
                allow_image_builder=True,
            )
        )
        await work.commit()
    for name, error in (
        ("nothing", NotFound),
        ("foreign", NotFound),
        ("abroad", NotFound),
        (SAMPLE.name, IncompatibleImage),
        *((one.name, NotAvailable) for one in (*making, failed)),
    ):
        with pytest.raises(error, match=name):
            await service(rig).copy(HERE, name, name="new", region=HERE.region)
    assert await found(rig, HERE, "new") is None


async def test_a_region_that_this_installation_does_not_have_is_named(rig: Rig) -> None:
    await put(rig, image("cad"))
    with pytest.raises(NotFound, match="mars-north-1"):
        await service(rig).copy(HERE, "cad", name="new", region="mars-north-1")


async def test_a_name_is_taken_once_in_a_region_and_may_be_that_of_a_public_image(rig: Rig) -> None:
    await put(rig, image("cad"))
    with pytest.raises(AlreadyExists, match="cad"):
        await service(rig).copy(HERE, "cad", name="cad", region=HERE.region)
    await service(rig).copy(HERE, "cad", name="cad", region=OTHER_REGION.region)
    with pytest.raises(AlreadyExists, match="cad"):
        await service(rig).copy(HERE, "cad", name="cad", region=OTHER_REGION.region)
    own = await service(rig).copy(HERE, "cad", name=SAMPLE.name, region=HERE.region)
    assert own.visibility is Visibility.PRIVATE


async def test_two_copies_at_a_time_come_into_a_region_and_ten_images_fit_there(rig: Rig) -> None:
    await put(rig, image("cad"))
    copies = service(rig, "aws")
    for number in range(2):
        await copies.copy(HERE, "cad", name=f"copy-{number}", region=OTHER_REGION.region)
    with pytest.raises(LimitExceeded, match="Concurrent image copies per destination Region"):
        await copies.copy(HERE, "cad", name="third", region=OTHER_REGION.region)
    assert await found(rig, OTHER_REGION, "third") is None
    await copies.copy(HERE, "cad", name="third", region=HERE.region)  # another destination has its own
    await put(rig, *(image(f"old-{number}") for number in range(8)))
    with pytest.raises(LimitExceeded, match="Private images"):
        await copies.copy(HERE, "cad", name="eleventh", region=HERE.region)
