"""Streaming images that the service provides: the public images of the installation, in every studio, nobody's to change."""

from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from test_nimble_streaming_images import add_image

from fanlight.domain.images import Image, ImageState, Visibility
from fanlight.domain.nimble.streaming_images import image_id_behind, provided_id
from fanlight.domain.places import Scope
from nimble_rig import EULAS, KEY, NEW_STUDIO, Studio, ask, new_profile


async def listed(studio: Studio, **wanted: Any) -> list[dict[str, Any]]:
    return list((await studio.call("list_streaming_images", **wanted))["streamingImages"])


async def refused(studio: Studio, operation: str, **arguments: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as error:
        await studio.call(operation, **arguments)
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


async def test_a_public_image_is_in_every_studio_as_the_service_showed_its_own(studio: Studio) -> None:
    image = await add_image(studio, name="sample", display_name="Sample " * 20, description="d")
    found = await listed(studio)
    image_id = found[0]["streamingImageId"]
    assert found == [
        {
            "arn": f"arn:aws:nimble:us-east-1:{KEY.account_id}:streaming-image/{image_id}", "description": "d",
            "ec2ImageId": image.ami_id, "eulaIds": sorted(eula.eula_id for eula in EULAS),
            "name": ("Sample " * 20)[:64], "owner": "amazon", "platform": "LINUX", "state": "READY",
            "streamingImageId": image_id, "tags": {},
        }
    ]  # fmt: skip
    assert len(image_id) == 22
    assert (await studio.call("get_streaming_image", streamingImageId=image_id))["streamingImage"] == found[0]
    stranger = studio.nimble.client(await studio.nimble.services.access_keys.create("111111111111"))
    theirs = (await ask(stranger.create_studio, **NEW_STUDIO))["studio"]["studioId"]
    (shown,) = (await ask(stranger.list_streaming_images, studioId=theirs))["streamingImages"]
    assert shown["arn"] == found[0]["arn"].replace(KEY.account_id, "111111111111")
    for reader in (stranger.get_streaming_image, stranger.list_streaming_images):
        named = {"streamingImageId": image_id} if reader == stranger.get_streaming_image else {}
        with pytest.raises(stranger.exceptions.ResourceNotFoundException):
            await ask(reader, studioId=studio.studio_id, **named)


@pytest.mark.parametrize(
    "members",
    [
        {"visibility": Visibility.PRIVATE, "scope": Scope(KEY.account_id, "us-east-1")},
        {"visibility": Visibility.PRIVATE, "scope": Scope("999999999999", "us-east-1")},
        {"state": ImageState.PENDING},
    ],
    ids=["the account's own", "of another account", "unfinished"],
)
async def test_what_not_everybody_may_stream_is_provided_to_nobody(studio: Studio, members: dict[str, Any]) -> None:
    image = await add_image(studio, **members)
    assert await listed(studio) == []
    missing = await refused(studio, "get_streaming_image", streamingImageId=provided_id(image.image_id))
    assert missing == ("ResourceNotFoundException", 404)


async def test_nobody_changes_or_deletes_it(studio: Studio) -> None:
    image_id = provided_id((await add_image(studio)).image_id)
    denied = ("AccessDeniedException", 403)
    assert await refused(studio, "update_streaming_image", streamingImageId=image_id, name="mine") == denied
    assert await refused(studio, "delete_streaming_image", streamingImageId=image_id) == denied
    assert [one["state"] for one in await listed(studio)] == ["READY"]
    arn = (await listed(studio))[0]["arn"]
    await ask(studio.api.tag_resource, resourceArn=arn, tags={"a": "b"})
    assert (await ask(studio.api.list_tags_for_resource, resourceArn=arn))["tags"] == {"a": "b"}
    assert [one["tags"] for one in await listed(studio)] == [{"a": "b"}]


async def test_sessions_begin_from_it_once_its_eulas_are_accepted(studio: Studio) -> None:
    image = await add_image(studio, name="sample")
    (provided,) = await listed(studio)
    wanted = new_profile(await studio.component(), provided["streamingImageId"])
    made = (await studio.call("create_launch_profile", **wanted))["launchProfile"]["launchProfileId"]
    profile = (await studio.call("get_launch_profile", launchProfileId=made))["launchProfile"]
    assert (profile["state"], profile["statusCode"]) == ("READY", "LAUNCH_PROFILE_CREATED")
    details = await studio.call("get_launch_profile_details", launchProfileId=made)
    assert details["streamingImages"] == [provided]
    assert await refused(studio, "create_streaming_session", launchProfileId=made) == ("ValidationException", 400)
    await studio.call("accept_eulas", eulaIds=provided["eulaIds"])
    session = (await studio.call("create_streaming_session", launchProfileId=made))["session"]
    assert session["streamingImageId"] == provided["streamingImageId"]
    async with studio.nimble.store.transactions.begin() as work:
        stored = await work.studio_sessions.find(session["sessionId"])
    assert stored is not None
    assert stored.image_ref == image.store_ref


async def test_it_keeps_no_studio_from_being_deleted_and_counts_against_no_quota(studio: Studio) -> None:
    await add_image(studio)
    await studio.call("delete_studio")
    assert (await studio.call("get_studio"))["studio"]["state"] == "DELETED"


async def test_when_the_image_goes_it_is_not_found_and_profiles_of_it_fail(studio: Studio) -> None:
    image = await add_image(studio)
    image_id = provided_id(image.image_id)
    wanted = new_profile(await studio.component(), image_id)
    made = (await studio.call("create_launch_profile", **wanted))["launchProfile"]["launchProfileId"]
    async with studio.nimble.store.transactions.begin(write=True) as work:
        await work.images.remove(image)
        await work.commit()
    assert (await refused(studio, "get_streaming_image", streamingImageId=image_id))[1] == 404
    assert (await refused(studio, "create_streaming_session", launchProfileId=made))[1] == 404
    await studio.call("update_launch_profile", launchProfileId=made, name="again")
    profile = (await studio.call("get_launch_profile", launchProfileId=made))["launchProfile"]
    assert (profile["state"], profile["statusCode"]) == ("UPDATE_FAILED", "STREAMING_IMAGE_NOT_FOUND")


async def test_pages_have_both_kinds_each_once(studio: Studio) -> None:
    images = [await add_public(studio, number) for number in range(30)]
    own = [await studio.image() for _ in range(30)]

    def read() -> list[list[str]]:
        pages = studio.api.get_paginator("list_streaming_images").paginate(studioId=studio.studio_id)
        return [[image["streamingImageId"] for image in page["streamingImages"]] for page in pages]

    pages = await ask(read)
    assert [len(page) for page in pages] == [50, 10]
    expected = sorted([*own, *(provided_id(image.image_id) for image in images)])
    assert [one for page in pages for one in page] == expected


async def add_public(studio: Studio, number: int) -> Image:
    name = f"public-{number}"
    return await add_image(studio, image_id=f"{number * 7:02x}" * 16, name=name, store_ref=name)


def test_an_id_is_read_back_and_no_other_text_is() -> None:
    image_id = "0123456789ab4def8123456789abcdef"
    assert image_id_behind(provided_id(image_id)) == image_id
    for _ in range(1000):
        one = uuid4().hex
        assert image_id_behind(provided_id(one)) == one
        assert not provided_id(one).startswith("-"), "the AWS CLI takes that for an option"
    # The last one has bits to spare: two ids of one image would be two names for it.
    for text in ("", "x", "nothing", "é" * 22, "+" * 22, provided_id(image_id) + "==", "a" * 10000, "A" * 21 + "B"):
        assert image_id_behind(text) is None, text
