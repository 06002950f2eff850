"""Images that are made here: begun by image builders, shared, used as far as that goes, and deleted."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture
from service_rig import HERE, NOW, OTHER_ACCOUNT, OTHER_REGION, Rig, new_fleet

from fanlight.domain.errors import (
    InUse,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
    NotPermitted,
)
from fanlight.domain.image_builders import ImageBuilderState
from fanlight.domain.image_requests import ImageAnswer, ImageRequest, RequestedApplication
from fanlight.domain.image_tasks import BuildTask, CopyTask
from fanlight.domain.images import Image, ImagePermission, ImageState, Visibility
from fanlight.domain.quotas import Quotas
from fanlight.services.fleet_wishes import FleetChange
from fanlight.services.image_builders import NewImageBuilder
from fanlight.services.image_files import ImageFiles
from fanlight.services.image_sharing import ImageSharingService
from fanlight.services.page_tokens import PageTokens
from fanlight.services.quotas import QuotaKeeper

THEM = OTHER_ACCOUNT.account_id
CAD_ARN = "arn:aws:appstream:us-east-1:000000000000:image/Cad"


async def add_image(rig: Rig, name: str = "Cad", **members: Any) -> Image:
    defaults: dict[str, Any] = {
        "image_id": f"{name}-id",
        "scope": HERE,
        "name": name,
        "store_ref": f"img-{name.lower()}",
        "created_at": NOW,
        "image_builder_name": "workbench",
        "image_builder_supported": True,
    }
    async with rig.transactions.begin(write=True) as work:
        added = await work.images.add(Image(**defaults | members))
        await work.commit()
    return added


async def found(rig: Rig, name: str = "Cad") -> Image | None:
    async with rig.transactions.begin() as work:
        return await work.images.find(HERE, name=name)


async def share(rig: Rig, **allowed: bool) -> None:
    await rig.services.image_sharing.update(HERE, "Cad", THEM, **allowed)


def picture(size: int = 64, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Picture.new("RGB", (size, size), "red").save(out, form)
    return out.getvalue()


# ── Deletion ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_deleted_image_is_answered_as_it_was_and_is_deleting(rig: Rig) -> None:
    image = await add_image(rig)
    answered = await rig.services.images.delete(HERE, "Cad")
    assert answered.image == image
    deleting = await found(rig)
    assert deleting is not None
    assert deleting.state is ImageState.DELETING
    assert ("image", image.image_id) in rig.woken
    with pytest.raises(InUse, match="DELETING"):
        await rig.services.images.delete(HERE, "Cad")


async def test_only_own_images_are_deleted(rig: Rig) -> None:
    await add_image(rig)
    await share(rig, allow_fleet=True)
    with pytest.raises(NotPermitted, match="public"):
        await rig.services.images.delete(HERE, "Sample")
    for scope in (OTHER_ACCOUNT, OTHER_REGION):
        with pytest.raises(NotFound):
            await rig.services.images.delete(scope, "Cad")


async def test_what_is_in_use_is_not_deleted(rig: Rig) -> None:
    await add_image(rig)
    await rig.services.fleets.create(HERE, new_fleet(image_name="Cad"))
    with pytest.raises(InUse, match=r"used by the fleet cad\."):
        await rig.services.images.delete(HERE, "Cad")
    await rig.services.fleets.delete(HERE, "cad")
    await rig.services.image_builders.create(HERE, a_builder(image_name="Cad"))
    with pytest.raises(InUse, match=r"used by the image builder workbench\."):
        await rig.services.images.delete(HERE, "Cad")


async def test_what_is_shared_or_copied_or_still_made_is_not_deleted(rig: Rig) -> None:
    image = await add_image(rig)
    await share(rig, allow_fleet=True)
    with pytest.raises(InUse, match=f"shared with 1 account.*{THEM}"):
        await rig.services.images.delete(HERE, "Cad")
    await rig.services.image_sharing.delete(HERE, "Cad", THEM)
    task = CopyTask(source_image_id=image.image_id, source_region="us-east-1")
    await add_image(rig, "Copy", state=ImageState.COPYING, task=task)
    with pytest.raises(InUse, match="the image Copy is being made from"):
        await rig.services.images.delete(HERE, "Cad")
    with pytest.raises(InUse, match="Copy is COPYING"):
        await rig.services.images.delete(HERE, "Copy")


# ── Sharing ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_shared_image_is_seen_by_the_other_account_as_shared(rig: Rig) -> None:
    image = await add_image(rig)
    await share(rig, allow_fleet=True)
    granted = ImagePermission(
        image_id=image.image_id, shared_account_id=THEM, allow_fleet=True, allow_image_builder=False
    )
    (mine,), _ = await rig.services.images.describe(HERE, names=["Cad"])
    assert (mine.visibility, mine.permission, mine.is_shared_with_others) == (Visibility.PRIVATE, None, True)
    for asked in ({"arns": [CAD_ARN]}, {"visibility": Visibility.SHARED}):
        (theirs,), _ = await rig.services.images.describe(OTHER_ACCOUNT, **asked)  # type: ignore[arg-type]
        assert (theirs.image, theirs.visibility, theirs.permission) == (image, Visibility.SHARED, granted)
    everything, _ = await rig.services.images.describe(OTHER_ACCOUNT)
    assert [one.image.name for one in everything] == ["Cad", "Sample"]
    with pytest.raises(NotFound):
        await rig.services.images.describe(OTHER_ACCOUNT, names=["Cad"])
    with pytest.raises(NotFound):
        await rig.services.images.describe(replace(OTHER_ACCOUNT, region="eu-west-1"), arns=[CAD_ARN])


async def test_a_shared_image_is_usable_exactly_as_allowed(rig: Rig) -> None:
    await add_image(rig)
    fleet = new_fleet(image_name=None, image_arn=CAD_ARN)
    builder = a_builder(image_name=None, image_arn=CAD_ARN)
    with pytest.raises(NotFound):
        await rig.services.fleets.create(OTHER_ACCOUNT, fleet)
    await share(rig, allow_image_builder=True)
    with pytest.raises(NotPermitted, match="not for fleets"):
        await rig.services.fleets.create(OTHER_ACCOUNT, fleet)
    await rig.services.image_builders.create(OTHER_ACCOUNT, builder)
    await share(rig, allow_fleet=True, allow_image_builder=False)
    await rig.services.fleets.create(OTHER_ACCOUNT, fleet)
    with pytest.raises(NotPermitted, match="not for image builders"):
        await rig.services.image_builders.create(OTHER_ACCOUNT, replace(builder, name="second"))
    await rig.services.fleets.create(OTHER_ACCOUNT, new_fleet("other"))
    await rig.services.fleets.update(OTHER_ACCOUNT, "other", FleetChange(image_arn=CAD_ARN))


async def test_a_fleet_that_loses_its_image_wishes_no_instances_and_does_not_start(rig: Rig) -> None:
    await add_image(rig)
    await share(rig, allow_fleet=True, allow_image_builder=True)
    for name in ("running", "stopped"):
        await rig.services.fleets.create(OTHER_ACCOUNT, new_fleet(name, image_name=None, image_arn=CAD_ARN))
    await rig.services.fleets.create(OTHER_ACCOUNT, new_fleet("sample"))
    await rig.services.fleets.create(HERE, new_fleet("own", image_name="Cad"))
    running = await rig.run_fleet("running", OTHER_ACCOUNT)
    await share(rig, allow_fleet=False)
    async with rig.transactions.begin() as work:
        wished = {fleet.name: fleet.desired_instances for fleet in await work.fleets.everywhere()}
    assert wished == {"running": 0, "stopped": 0, "sample": 2, "own": 2}
    assert ("fleet", running.fleet_id) in rig.woken
    with pytest.raises(NotPermitted, match="not shared with this account for fleets any more"):
        await rig.services.fleets.start(OTHER_ACCOUNT, "stopped")


async def test_permissions_are_listed_changed_and_taken_back(rig: Rig) -> None:
    await add_image(rig)
    sharing = rig.services.image_sharing
    for number in range(3):
        await sharing.update(HERE, "Cad", f"{number}" * 12 if number else "3" * 12, allow_fleet=True)
    first, token = await sharing.describe(HERE, "Cad", limit=2)
    rest, end = await sharing.describe(HERE, "Cad", limit=2, next_token=token)
    assert [p.shared_account_id[0] for p in (*first, *rest)] == ["1", "2", "3"]
    assert end is None
    only, _ = await sharing.describe(HERE, "Cad", account_ids=["2" * 12, "9" * 12])
    assert [(p.shared_account_id, p.allow_fleet, p.allow_image_builder) for p in only] == [("2" * 12, True, False)]
    await sharing.update(HERE, "Cad", "2" * 12, allow_image_builder=True)
    await sharing.update(HERE, "Cad", "1" * 12, allow_fleet=False)
    left, _ = await sharing.describe(HERE, "Cad")
    assert [(p.shared_account_id[0], p.allow_fleet, p.allow_image_builder) for p in left] == [
        ("2", True, True),
        ("3", True, False),
    ]
    await sharing.delete(HERE, "Cad", "3" * 12)
    with pytest.raises(NotFound, match="3333"):
        await sharing.delete(HERE, "Cad", "3" * 12)


async def test_what_cannot_be_shared_is_not(rig: Rig) -> None:
    await add_image(rig)
    await add_image(rig, "Broken", state=ImageState.FAILED)
    sharing = rig.services.image_sharing
    with pytest.raises(NotFound):
        await sharing.update(HERE, "Nothing", THEM, allow_fleet=True)
    with pytest.raises(NotAvailable, match="public"):
        await sharing.update(HERE, "Sample", THEM, allow_fleet=True)
    with pytest.raises(NotAvailable, match="FAILED"):
        await sharing.update(HERE, "Broken", THEM, allow_fleet=True)
    for account in ("1", HERE.account_id, "1" * 13):
        with pytest.raises(InvalidCombination):
            await sharing.update(HERE, "Cad", account, allow_fleet=True)
    for name in ("Sample", "Nothing"):
        with pytest.raises(NotFound):
            await sharing.describe(HERE, name)
    limited = ImageSharingService(
        rig.transactions, lambda *_: None, PageTokens(b"k"), QuotaKeeper(Quotas({"Image sharing limit": 1}))
    )
    await limited.update(HERE, "Cad", THEM, allow_fleet=True)
    await limited.update(HERE, "Cad", THEM, allow_image_builder=True)
    with pytest.raises(LimitExceeded):
        await limited.update(HERE, "Cad", "2" * 12, allow_fleet=True)


# ── What a builder asks for ───────────────────────────────────────────────────────────────────────────────────────


def a_builder(**members: Any) -> NewImageBuilder:
    defaults = {"name": "workbench", "instance_type": "stream.standard.medium", "image_name": "Sample"}
    return NewImageBuilder(**defaults | members)


async def running_builder(rig: Rig) -> str:
    """Return the instance of a builder that is RUNNING."""
    builder = await rig.services.image_builders.create(HERE, a_builder())
    async with rig.transactions.begin(write=True) as work:
        await work.image_builders.save(replace(builder, state=ImageBuilderState.RUNNING))
        await work.commit()
    return builder.instance_id


def a_request(instance_id: str, **members: Any) -> ImageRequest:
    defaults: dict[str, Any] = {
        "instance_id": instance_id,
        "request_id": "r-1",
        "name": "Cad",
        "display_name": "Drawing office",
        "tags": {"team": "bridges"},
        "applications": (
            RequestedApplication(
                name="gimp", display_name="GIMP", launch_path="/usr/bin/gimp", icon=picture(form="BMP")
            ),
            RequestedApplication(name="plain", display_name="", launch_path="/opt/plain"),
        ),
    }
    return ImageRequest(**defaults | members)


async def asked(rig: Rig, request: ImageRequest) -> ImageAnswer:
    return await rig.services.image_requests.create_image_from_builder(request)


async def test_a_builder_begins_an_image(rig: Rig, tmp_path: Path) -> None:
    instance_id = await running_builder(rig)
    assert await asked(rig, a_request(instance_id)) == ImageAnswer()
    image = await found(rig)
    assert image is not None
    builder = (await rig.services.image_builders.describe(HERE))[0][0]
    assert builder.state is ImageBuilderState.SNAPSHOTTING
    assert builder.snapshot_image_id == image.image_id
    assert (image.state, image.store_ref, image.image_builder_name, image.agent_version) == (
        ImageState.PENDING,
        f"img-{image.image_id}",
        "workbench",
        builder.agent_version,
    )
    assert image.base_image_arn == "arn:aws:appstream:us-east-1::image/Sample"
    assert image.public_base_image_released_at == NOW
    assert image.task == BuildTask(builder_id=builder.builder_id, instance_id=instance_id, request_id="r-1")
    assert [(a.name, a.display_name, a.icon) for a in image.applications] == [
        ("gimp", "GIMP", "0.png"),
        ("plain", "plain", None),
    ]
    icon = ImageFiles(tmp_path).icon(image.store_ref, "0.png")
    assert icon is not None
    with Picture.open(io.BytesIO(icon)) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (64, 64))
    assert await rig.services.tags.of(HERE, CAD_ARN) == {"team": "bridges"}
    assert {("image", image.image_id), ("image_builder", builder.builder_id)} <= set(rig.woken)
    assert await asked(rig, a_request(instance_id)) == ImageAnswer(), "the same request, whose answer was lost"
    taken = await asked(rig, a_request(instance_id, request_id="r-2"))
    assert taken == ImageAnswer(status=1, message="An image with the given name already exists")


async def test_a_dry_run_writes_nothing(rig: Rig) -> None:
    instance_id = await running_builder(rig)
    revision = rig.transactions.revision()
    assert await asked(rig, a_request(instance_id, is_dry_run=True)) == ImageAnswer()
    taken = await asked(rig, a_request(instance_id, is_dry_run=True, name="Sample"))
    assert taken.message == "An image with the given name already exists"
    assert rig.transactions.revision() == revision


async def test_the_newest_agent_is_the_image_s_when_asked_for(rig: Rig) -> None:
    instance_id = await running_builder(rig)
    await asked(rig, a_request(instance_id, uses_latest_agent_version=True))
    image = await found(rig)
    assert image is not None
    assert image.agent_version == "LATEST"
    assert rig.services.images.has_latest_agent(image)
    assert not rig.services.images.has_latest_agent(replace(image, agent_version="01-01-2020-old"))


def application(**members: Any) -> tuple[RequestedApplication, ...]:
    defaults = {"name": "gimp", "display_name": "GIMP", "launch_path": "/usr/bin/gimp"}
    return (RequestedApplication(**defaults | members),)


@pytest.mark.parametrize(
    ("members", "status", "words"),
    [
        ({"name": "x" * 101}, 255, "1 to 100 letters"),
        ({"name": "../x"}, 255, "1 to 100 letters"),
        ({"name": "Amazon-x"}, 255, "not begin with aws, appstream, amazon"),
        ({"name": "awsome"}, 255, "not begin with"),
        ({"display_name": "x" * 257}, 255, "display name"),
        ({"description": "a\nb"}, 255, "description"),
        ({"has_dynamic_app_catalog": True}, 255, "dynamic"),
        ({"tags": {"aws:x": "y"}}, 1, "Invalid value (tags)"),
        ({"tags": {f"k{n}": "" for n in range(51)}}, 1, "Invalid value (tags)"),
        ({"applications": application() * 2}, 1, "Name is not unique"),
        ({"applications": tuple(application(name=f"a{n}")[0] for n in range(51))}, 1, "more than 50 apps"),
        ({"applications": application(name="two words")}, 255, "no white space"),
        ({"applications": application(name="Desktop")}, 255, "Desktop"),
        ({"applications": application(launch_path="gimp")}, 255, "absolute"),
        ({"applications": application(working_directory="../etc")}, 255, "absolute"),
        ({"applications": application(launch_parameters="\x00")}, 255, "not printable"),
        ({"applications": application(icon=b"<svg onload=alert(1)>")}, 255, "icon of the application gimp"),
        ({"applications": application(icon=picture(257))}, 255, "larger than 256"),
        ({"applications": application(icon=b"\x89PNG\r\n\x1a\n" + b"\0" * 99)}, 255, "icon"),
        ({"applications": application(icon=picture() + b"x" * (1 << 20))}, 255, "more than"),
    ],
)
async def test_what_a_guest_may_not_ask_for_is_refused(
    rig: Rig, tmp_path: Path, members: dict[str, Any], status: int, words: str
) -> None:
    instance_id = await running_builder(rig)
    answer = await asked(rig, a_request(instance_id, **members))
    assert (answer.status, words in answer.message) == (status, True), answer
    assert await found(rig, members.get("name", "Cad")) is None
    assert not (tmp_path / "state" / "images").exists()


async def test_only_a_running_builder_of_ones_own_makes_an_image(rig: Rig) -> None:
    stranger = await asked(rig, a_request("i-stranger"))
    assert (stranger.status, stranger.message) == (255, "Images are made of image builders only.")
    builder = await rig.services.image_builders.create(HERE, a_builder())
    early = await asked(rig, a_request(builder.instance_id))
    assert (early.status, "PENDING" in early.message) == (255, True)
    assert await found(rig) is None


async def test_files_of_images_that_are_gone_go_too(rig: Rig, tmp_path: Path) -> None:
    import os

    files = ImageFiles(tmp_path)
    for ref in ("img-1", "img-2", "img-3"):
        files.put_icons(ref, {"0.png": picture()})
    files.copy_icons("img-1", "img-4")
    assert files.icon("img-4", "0.png") == files.icon("img-1", "0.png") == picture()
    os.utime(tmp_path / "state" / "images" / "img-2", (0, 0))
    os.utime(tmp_path / "state" / "images" / "img-1", (0, 0))
    files.forget_all_but({"img-1"})
    assert sorted(path.name for path in (tmp_path / "state" / "images").iterdir()) == ["img-1", "img-3", "img-4"]
    with pytest.raises(ValueError, match="not a path"):
        files.forget("../../x")


async def test_an_icon_is_given_to_who_has_its_url_and_only_for_a_time(rig: Rig, tmp_path: Path) -> None:
    from datetime import timedelta
    from urllib.parse import parse_qsl, urlsplit

    instance_id = await running_builder(rig)
    await asked(rig, a_request(instance_id))
    image = await found(rig)
    assert image is not None
    icons = rig.services.icons
    url = urlsplit(str(icons.url(image, image.applications[0])))
    query = dict(parse_qsl(url.query))
    named = {"store_ref": image.store_ref, "name": "0.png"}
    assert url.path == f"/icons/{image.store_ref}/0.png"
    assert str(icons.read(**named, **query)).startswith("b'\\x89PNG")
    for wrong in (
        {"store_ref": "img-other"},
        {"name": "1.png"},
        {"expires": str(int(query["expires"]) + 1)},
        {"signature": "x"},
        {"signature": ""},
        {"signature": "ü"},
    ):
        assert icons.read(**named | query | wrong) is None
    rig.clock.advance(timedelta(minutes=59))
    assert icons.read(**named, **query) is not None
    rig.clock.advance(timedelta(minutes=62))
    assert icons.read(**named, **query) is None
