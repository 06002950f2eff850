"""Studios as their clients see them: all operations, all ways they end, waiters and tombstones."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from nimble_rig import DELETED_KEPT, NEW_STUDIO, Nimble, Studio, ask

ONCE = {"MaxAttempts": 1}


async def test_a_studio_is_created_read_listed_and_has_everything_its_clients_read(nimble: Nimble) -> None:
    client = nimble.client(region="us-west-2")
    made = (await ask(client.create_studio, **NEW_STUDIO, tags={"team": "lighting"}))["studio"]
    assert (made["state"], made["statusCode"]) == ("CREATE_IN_PROGRESS", "STUDIO_CREATE_IN_PROGRESS")
    assert nimble.woken == {f"nimble_resource {made['studioId']}"}
    await nimble.settle()
    answer = await ask(client.get_studio, studioId=made["studioId"])
    studio = answer["studio"]
    assert answer["ResponseMetadata"]["RequestId"]
    assert studio["studioId"].startswith("us-west-2:stid-")
    short = studio["studioId"].removeprefix("us-west-2:")
    del studio["createdAt"], studio["updatedAt"], studio["ssoClientId"]
    assert studio == {
        **NEW_STUDIO,
        "arn": f"arn:aws:nimble:us-west-2:000000000000:studio/{short}",
        "homeRegion": "us-west-2",
        "state": "READY",
        "statusCode": "STUDIO_CREATED",
        "statusMessage": "The studio was created.",
        "studioEncryptionConfiguration": {"keyType": "AWS_OWNED_KEY"},
        "studioId": f"us-west-2:{short}",
        "studioUrl": "http://localhost:8080",
        "tags": {"team": "lighting"},
    }
    listed = await ask(client.list_studios)
    assert [one["studioId"] for one in listed["studios"]] == [made["studioId"]]
    assert (await ask(nimble.client().list_studios))["studios"] == []


async def test_a_studio_is_updated_and_what_is_absent_stays(studio: Studio) -> None:
    changed = await studio.call("update_studio", displayName="Lumen Two")
    assert (changed["studio"]["state"], changed["studio"]["statusCode"]) == (
        "UPDATE_IN_PROGRESS",
        "STUDIO_UPDATE_IN_PROGRESS",
    )
    await ask(studio.api.get_waiter("studio_ready").wait, studioId=studio.studio_id, WaiterConfig=ONCE)
    found = (await studio.call("get_studio"))["studio"]
    assert (found["displayName"], found["adminRoleArn"]) == ("Lumen Two", NEW_STUDIO["adminRoleArn"])
    assert found["statusCode"] == "STUDIO_UPDATED"


async def test_a_deleted_studio_stays_readable_as_deleted_and_is_gone_later(studio: Studio) -> None:
    gone = (await studio.call("delete_studio"))["studio"]
    assert (gone["state"], gone["statusCode"]) == ("DELETE_IN_PROGRESS", "STUDIO_DELETE_IN_PROGRESS")
    await ask(studio.api.get_waiter("studio_deleted").wait, studioId=studio.studio_id, WaiterConfig=ONCE)
    again = await studio.call("delete_studio")
    assert (again["studio"]["state"], again["studio"]["statusCode"]) == ("DELETED", "STUDIO_DELETED")
    assert (await ask(studio.api.list_studios))["studios"] == []
    studio.nimble.clock.ahead = DELETED_KEPT - timedelta(seconds=5)
    await studio.call("get_studio")
    studio.nimble.clock.ahead = DELETED_KEPT + timedelta(seconds=1)
    await studio.nimble.settle()
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException) as refused:
        await studio.call("get_studio")
    assert refused.value.response["context"] == {"resourceId": studio.studio_id}
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


async def test_a_key_that_nobody_has_makes_a_studio_that_failed_and_vanishes(nimble: Nimble) -> None:
    client = nimble.client()
    key = {"keyType": "CUSTOMER_MANAGED_KEY", "keyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}
    made = await ask(client.create_studio, **NEW_STUDIO, studioEncryptionConfiguration=key)
    await nimble.settle()
    studio_id = made["studio"]["studioId"]
    with pytest.raises(WaiterError, match="terminal failure"):
        await ask(client.get_waiter("studio_ready").wait, studioId=studio_id, WaiterConfig=ONCE)
    failed = (await ask(client.get_studio, studioId=studio_id))["studio"]
    assert (failed["state"], failed["statusCode"]) == ("CREATE_FAILED", "ENCRYPTION_KEY_NOT_FOUND")
    assert failed["studioEncryptionConfiguration"] == key
    await ask(client.create_studio, **NEW_STUDIO)  # a failed one does not keep its name
    nimble.clock.ahead = DELETED_KEPT
    await nimble.settle()
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        await ask(client.get_studio, studioId=studio_id)


async def test_a_name_belongs_to_one_studio_of_the_account_and_region(studio: Studio) -> None:
    with pytest.raises(studio.api.exceptions.ConflictException):
        await ask(studio.api.create_studio, **NEW_STUDIO)
    await ask(studio.nimble.client(region="us-west-2").create_studio, **NEW_STUDIO)


MISFITS: tuple[dict[str, Any], ...] = (
    {"studioName": "Lumen"},
    {"studioName": "x" * 65},
    {"displayName": "x" * 65},
    {"studioEncryptionConfiguration": {"keyType": "CUSTOMER_MANAGED_KEY"}},
    {"studioEncryptionConfiguration": {"keyType": "AWS_OWNED_KEY", "keyArn": "arn:aws:kms:k"}},
    {"studioEncryptionConfiguration": {"keyType": "NO_KEY"}},
    {"tags": {"aws:team": "x"}},
)


async def test_values_that_the_model_or_the_rules_refuse(nimble: Nimble) -> None:
    client = nimble.client()
    for wrong in MISFITS:
        with pytest.raises(client.exceptions.ValidationException):
            await ask(client.create_studio, **{**NEW_STUDIO, **wrong})
    assert (await ask(client.list_studios))["studios"] == []


async def test_the_sso_configuration_is_repaired_when_the_portal_moved_and_only_then(studio: Studio) -> None:
    before = (await studio.call("get_studio"))["studio"]
    with pytest.raises(studio.api.exceptions.ValidationException, match="nothing to repair"):
        await studio.call("start_studio_sso_configuration_repair")
    studio.nimble.portal[0] = "https://portal.example"
    asked = (await studio.call("start_studio_sso_configuration_repair"))["studio"]
    assert (asked["state"], asked["statusCode"]) == ("UPDATE_IN_PROGRESS", "AWS_SSO_CONFIGURATION_REPAIR_IN_PROGRESS")
    after = (await studio.call("get_studio"))["studio"]
    assert (after["state"], after["statusCode"]) == ("READY", "AWS_SSO_CONFIGURATION_REPAIRED")
    assert after["studioUrl"] == "https://portal.example"
    assert after["ssoClientId"] != before["ssoClientId"]


async def test_nothing_is_changed_while_a_change_is_in_progress(nimble: Nimble) -> None:
    client = nimble.client()
    studio_id = (await ask(client.create_studio, **NEW_STUDIO))["studio"]["studioId"]
    for change in (client.update_studio, client.delete_studio):
        with pytest.raises(client.exceptions.ConflictException) as refused:
            await ask(change, studioId=studio_id)
        assert refused.value.response["context"] == {"resourceId": studio_id}


async def test_a_token_that_comes_again_does_nothing_or_is_refused(studio: Studio) -> None:
    await studio.call("update_studio", displayName="One", clientToken="t")
    await studio.call("update_studio", displayName="Two")
    again = await studio.call("update_studio", displayName="One", clientToken="t")
    assert (again["studio"]["displayName"], again["studio"]["state"]) == ("Two", "READY")
    with pytest.raises(studio.api.exceptions.ValidationException, match="other parameters"):
        await studio.call("update_studio", displayName="Three", clientToken="t")
    await studio.call("delete_studio", clientToken="t")  # another operation, so another token
    assert (await studio.call("get_studio"))["studio"]["state"] == "DELETED"


async def test_a_token_is_forgotten_after_a_day(nimble: Nimble) -> None:
    client = nimble.client()
    first = await ask(client.create_studio, **NEW_STUDIO, clientToken="t")
    nimble.clock.ahead = timedelta(hours=24, seconds=1)
    second = await ask(client.create_studio, **{**NEW_STUDIO, "studioName": "other"}, clientToken="t")
    assert first["studio"]["studioId"] != second["studio"]["studioId"]


async def test_tags_go_by_arn_and_a_studio_takes_its_tags_with_it(studio: Studio) -> None:
    arn = (await studio.call("get_studio"))["studio"]["arn"]
    answer = await ask(studio.api.tag_resource, resourceArn=arn, tags={"team": "fx", "a b": "c=d"})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    await ask(studio.api.untag_resource, resourceArn=arn, tagKeys=["team", "absent"])
    assert (await ask(studio.api.list_tags_for_resource, resourceArn=arn))["tags"] == {"a b": "c=d"}
    with pytest.raises(ClientError, match="50 tags"):
        await ask(studio.api.tag_resource, resourceArn=arn, tags={f"key{number}": "" for number in range(50)})
    await studio.call("delete_studio")
    for wrong in (arn, arn.replace("studio/", "eula/"), "arn:aws:nimble:us-east-1:111111111111:studio/stid-x", "junk"):
        with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
            await ask(studio.api.list_tags_for_resource, resourceArn=wrong)
