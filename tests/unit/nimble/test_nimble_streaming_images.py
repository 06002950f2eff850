"""Streaming images of Nimble Studio as clients see them: names for images of this installation."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from fanlight.domain.images import Image, ImageState, Visibility
from fanlight.domain.nimble.streaming_images import StreamingImage, provided_id
from fanlight.domain.places import Scope
from nimble_rig import KEY, Studio, ask

ONCE = {"MaxAttempts": 1}


async def add_image(studio: Studio, **members: Any) -> Image:
    fresh: dict[str, Any] = {
        "image_id": "0123456789abcdef0123456789abcdef", "scope": Scope("", ""), "name": "Fanlight-Sample",
        "store_ref": "fanlight-sample", "visibility": Visibility.PUBLIC, "created_at": studio.nimble.clock.now(),
    }  # fmt: skip
    async with studio.nimble.store.transactions.begin(write=True) as work:
        image = await work.images.add(Image(**fresh | members))
        await work.commit()
    return image


async def create(studio: Studio, ec2_image_id: str, **members: Any) -> dict[str, Any]:
    made = await studio.call("create_streaming_image", ec2ImageId=ec2_image_id, **{"name": "artists", **members})
    return dict(made["streamingImage"])


async def get(studio: Studio, image_id: str) -> dict[str, Any]:
    return dict((await studio.call("get_streaming_image", streamingImageId=image_id))["streamingImage"])


async def refused(studio: Studio, operation: str, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        await studio.call(operation, **arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


async def test_an_image_is_answered_whole_and_lives_through_all_its_states(studio: Studio) -> None:
    image = await add_image(studio)
    made = await create(studio, image.ami_id, description="d", tags={"a": "b"})
    assert (made["state"], made["statusCode"]) == ("CREATE_IN_PROGRESS", "STREAMING_IMAGE_CREATE_IN_PROGRESS")
    image_id = made["streamingImageId"]
    named = {"studioId": studio.studio_id, "streamingImageId": image_id}
    await ask(studio.api.get_waiter("streaming_image_ready").wait, **named, WaiterConfig=ONCE)
    expected = {
        "arn": f"arn:aws:nimble:us-east-1:{KEY.account_id}:streaming-image/{image_id}", "description": "d",
        "ec2ImageId": image.ami_id, "eulaIds": [], "name": "artists", "owner": studio.studio_id, "platform": "LINUX",
        "state": "READY", "statusCode": "STREAMING_IMAGE_READY", "statusMessage": "The streaming image is ready.",
        "streamingImageId": image_id, "tags": {"a": "b"},
    }  # fmt: skip
    assert await get(studio, image_id) == expected
    changed = await studio.call("update_streaming_image", streamingImageId=image_id, name="others")
    assert changed["streamingImage"]["statusCode"] == "STREAMING_IMAGE_UPDATE_IN_PROGRESS"
    assert await get(studio, image_id) == {**expected, "name": "others"}
    going = await studio.call("delete_streaming_image", streamingImageId=image_id)
    assert going["streamingImage"]["statusCode"] == "STREAMING_IMAGE_DELETE_IN_PROGRESS"
    await ask(studio.api.get_waiter("streaming_image_deleted").wait, **named, WaiterConfig=ONCE)
    gone = await get(studio, image_id)
    assert (gone["state"], gone["statusCode"], gone["tags"]) == ("DELETED", "STREAMING_IMAGE_DELETED", {})
    again = await studio.call("delete_streaming_image", streamingImageId=image_id)
    assert again["streamingImage"]["state"] == "DELETED"
    async with studio.nimble.store.transactions.begin() as work:
        assert await work.images.find_by_id(image.image_id) is not None, "the image itself is not ours to delete"


@pytest.mark.parametrize(
    ("members", "code", "said"),
    [
        ({"state": ImageState.PENDING}, "INTERNAL_ERROR", "is PENDING"),
        (
            {"scope": Scope("999999999999", "us-east-1"), "visibility": Visibility.PRIVATE},
            "ACCESS_DENIED",
            "no image ami-",
        ),
        ({"image_id": "f" * 32}, "ACCESS_DENIED", "no image ami-0123456789abcdef0"),
    ],
    ids=["unfinished", "of another account", "unknown"],
)
async def test_what_cannot_be_streamed_ends_in_create_failed(
    studio: Studio, members: dict[str, Any], code: str, said: str
) -> None:
    await add_image(studio, **members)
    made = await create(studio, "ami-0123456789abcdef0")
    failed = await get(studio, made["streamingImageId"])
    assert (failed["state"], failed["statusCode"]) == ("CREATE_FAILED", code)
    assert said in failed["statusMessage"]
    named = {"studioId": studio.studio_id, "streamingImageId": made["streamingImageId"]}
    with pytest.raises(WaiterError):
        await ask(studio.api.get_waiter("streaming_image_ready").wait, **named, WaiterConfig=ONCE)
    await studio.call("delete_streaming_image", streamingImageId=made["streamingImageId"])
    assert (await get(studio, made["streamingImageId"]))["state"] == "DELETED"


async def test_an_id_that_is_no_ami_is_refused_by_the_server(studio: Studio) -> None:
    code, text = await refused(studio, "create_streaming_image", ec2ImageId="img-1", name="n")
    assert code == "ValidationException"
    assert "ec2ImageId" in text


async def test_lists_filter_by_owner_whatever_its_capitals(studio: Studio) -> None:
    image = await add_image(studio)
    made = await create(studio, image.ami_id)
    service_image = provided_id(image.image_id)
    for owner, expected in (
        (None, sorted([made["streamingImageId"], service_image])),
        (studio.studio_id, [made["streamingImageId"]]),
        ("AMAZON", [service_image]),
        ("somebody", []),
    ):
        page = await studio.call("list_streaming_images", **({"owner": owner} if owner else {}))
        assert [one["streamingImageId"] for one in page["streamingImages"]] == expected


async def test_the_same_token_makes_one_image_and_another_request_with_it_is_refused(studio: Studio) -> None:
    image = await add_image(studio)
    first = await create(studio, image.ami_id, clientToken="once")
    second = await create(studio, image.ami_id, clientToken="once")
    assert first["streamingImageId"] == second["streamingImageId"]
    assert (await refused(studio, "create_streaming_image", ec2ImageId=image.ami_id, name="x", clientToken="once"))[
        0
    ] == ("ValidationException")


async def test_a_studio_with_images_is_not_deleted(studio: Studio) -> None:
    image = await add_image(studio)
    await create(studio, image.ami_id)
    await studio.call("delete_studio")
    found = (await studio.call("get_studio"))["studio"]
    assert (found["state"], found["statusCode"]) == ("DELETE_FAILED", "STUDIO_WITH_STREAMING_IMAGES_NOT_DELETED")


async def test_an_image_belongs_to_its_studio(studio: Studio) -> None:
    image = await add_image(studio)
    made = await create(studio, image.ami_id)
    async with studio.nimble.store.transactions.begin() as work:
        found = await work.nimble.resources.find(made["streamingImageId"])
    assert isinstance(found, StreamingImage)
    assert found.image_id == image.image_id
    with pytest.raises(ClientError) as error:
        await ask(
            studio.api.get_streaming_image, studioId="us-east-1:stid-other", streamingImageId=made["streamingImageId"]
        )
    assert error.value.response["Error"]["Code"] == "ResourceNotFoundException"
