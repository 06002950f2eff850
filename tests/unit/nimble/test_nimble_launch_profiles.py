"""Launch profiles: what they are made of, how a change ends, who is a member, what a machine reads."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from fanlight.domain.nimble.resources import ResourceState
from nimble_rig import KEY, Studio, ask, new_profile

ONCE = {"MaxAttempts": 1}
MEMBERS = [{"principalId": f"user-{number:02}", "persona": "USER"} for number in range(20)]


async def test_a_launch_profile_comes_back_as_it_was_given(studio: Studio) -> None:
    component_id, image_id = await studio.component(ec2SecurityGroupIds=["sg-1"]), await studio.image()
    stream = {
        "maxSessionLengthInMinutes": 60,
        "maxStoppedSessionLengthInMinutes": 30,
        "sessionPersistenceMode": "ACTIVATED",
        "automaticTerminationMode": "ACTIVATED",
        "sessionBackup": {"mode": "AUTOMATIC", "maxBackupsToRetain": 3},
        "sessionStorage": {"mode": ["UPLOAD"], "root": {"linux": "$HOME/uploads", "windows": "%HOMEPATH%\\u"}},
        "volumeConfiguration": {"size": 100, "iops": 3000, "throughput": 125},
    }
    wanted = {**new_profile(component_id, image_id, **stream), "description": "d", "tags": {"a": "b"}}
    made = (await studio.call("create_launch_profile", **wanted))["launchProfile"]
    assert (made["state"], made["statusCode"]) == ("CREATE_IN_PROGRESS", "LAUNCH_PROFILE_CREATE_IN_PROGRESS")
    assert {one["state"] for one in made["validationResults"]} == {"VALIDATION_NOT_STARTED"}
    profile_id = made["launchProfileId"]
    asked = {"studioId": studio.studio_id, "launchProfileId": profile_id}
    await ask(studio.api.get_waiter("launch_profile_ready").wait, **asked, WaiterConfig=ONCE)
    found = (await studio.call("get_launch_profile", launchProfileId=profile_id))["launchProfile"]
    assert [one["type"] for one in found["validationResults"]] == [
        "VALIDATE_ACTIVE_DIRECTORY_STUDIO_COMPONENT",
        "VALIDATE_SUBNET_ASSOCIATION",
        "VALIDATE_NETWORK_ACL_ASSOCIATION",
        "VALIDATE_SECURITY_GROUP_ASSOCIATION",
    ]
    assert {one["statusCode"] for one in found["validationResults"]} == {"VALIDATION_SUCCESS"}
    del found["createdAt"], found["updatedAt"], found["validationResults"]
    assert found == {
        **wanted,
        "arn": f"arn:aws:nimble:us-east-1:000000000000:launch-profile/{profile_id}",
        "createdBy": KEY.access_key_id,
        "updatedBy": KEY.access_key_id,
        "launchProfileId": profile_id,
        "state": "READY",
        "statusCode": "LAUNCH_PROFILE_CREATED",
        "statusMessage": "The launch profile was created.",
    }


async def test_what_is_not_offered_here_fails_a_validation_and_not_the_profile(studio: Studio) -> None:
    directory = await studio.component(type="ACTIVE_DIRECTORY", ec2SecurityGroupIds=["sg-2", "sg-1"])
    wanted = {**new_profile(directory, await studio.image()), "ec2SubnetIds": ["subnet-1", "subnet-2"]}
    made = await studio.call("create_launch_profile", **wanted)
    profile_id = made["launchProfile"]["launchProfileId"]
    found = (await studio.call("get_launch_profile", launchProfileId=profile_id))["launchProfile"]
    assert found["state"] == "READY"
    assert [one["statusCode"] for one in found["validationResults"]] == [
        "VALIDATION_FAILED_INVALID_ACTIVE_DIRECTORY",
        "VALIDATION_FAILED_SUBNET_NOT_FOUND",
        "VALIDATION_SUCCESS",
        "VALIDATION_FAILED_INVALID_SECURITY_GROUP_ASSOCIATION",
    ]
    assert "subnet-2" in found["validationResults"][1]["statusMessage"]


async def test_defaults_of_the_stream_configuration(studio: Studio) -> None:
    profile_id = await studio.profile()
    found = (await studio.call("get_launch_profile", launchProfileId=profile_id))["launchProfile"]
    stream = found["streamConfiguration"]
    assert (stream["maxSessionLengthInMinutes"], stream["maxStoppedSessionLengthInMinutes"]) == (690, 0)
    assert stream["sessionPersistenceMode"] == "DEACTIVATED"
    assert not {"sessionBackup", "sessionStorage", "volumeConfiguration", "automaticTerminationMode"} & set(stream)


MISFITS: tuple[dict[str, Any], ...] = (
    {"volumeConfiguration": {"size": 100}},
    {"automaticTerminationMode": "ACTIVATED"},
    {"sessionPersistenceMode": "ACTIVATED", "maxStoppedSessionLengthInMinutes": 1},
    {"ec2InstanceTypes": ["g5.12xlarge"]},
    {"ec2InstanceTypes": ["g4dn.xlarge", "g4dn.xlarge"]},
    {"streamingImageIds": ["x" * 23]},
    {"streamingImageIds": ["a", "a"]},
    {"streamingImageIds": [f"i{number}" for number in range(21)]},
    {"maxSessionLengthInMinutes": 43201},
    {"maxStoppedSessionLengthInMinutes": 5761},
    {"sessionBackup": {"mode": "AUTOMATIC", "maxBackupsToRetain": 11}},
    {"sessionStorage": {"mode": ["DOWNLOAD"]}},
    {"sessionStorage": {"mode": ["UPLOAD"], "root": {"linux": "uploads"}}},
    {"sessionPersistenceMode": "ACTIVATED", "volumeConfiguration": {"size": 16001}},
    {"sessionPersistenceMode": "ACTIVATED", "volumeConfiguration": {"iops": 16001}},
    {"sessionPersistenceMode": "ACTIVATED", "volumeConfiguration": {"throughput": 1001}},
    {"clipboardMode": "SOMETIMES"},
)
REFUSED: tuple[dict[str, Any], ...] = (
    {"launchProfileProtocolVersions": []},
    {"launchProfileProtocolVersions": ["2020-01-01"]},
    {"ec2SubnetIds": [f"subnet-{number}" for number in range(7)]},
    {"name": "x" * 65},
    {"studioComponentIds": ["a", "a"]},
)


async def test_settings_that_do_not_go_together_are_refused(studio: Studio) -> None:
    component_id, image_id = await studio.component(), await studio.image()
    wanted = new_profile(component_id, image_id)
    wrong_streams = [new_profile(component_id, image_id, **wrong) for wrong in MISFITS]
    for wrong in [*wrong_streams, *({**wanted, **wrong} for wrong in REFUSED)]:
        with pytest.raises(studio.api.exceptions.ValidationException):
            await studio.call("create_launch_profile", **wrong)
    assert (await studio.call("list_launch_profiles"))["launchProfiles"] == []


async def test_the_lengths_of_old_clients_are_taken_alone(studio: Studio) -> None:
    await studio.profile(maxStoppedSessionLengthInMinutes=5760)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (None, "STREAMING_IMAGE_NOT_FOUND"),
        (ResourceState.DELETED, "STREAMING_IMAGE_NOT_FOUND"),
        (ResourceState.CREATE_FAILED, "STREAMING_IMAGE_NOT_FOUND"),
        (ResourceState.DELETE_IN_PROGRESS, "STREAMING_IMAGE_NOT_READY"),
        (ResourceState.CREATE_IN_PROGRESS, "STREAMING_IMAGE_NOT_READY"),
    ],
)
async def test_an_image_that_cannot_be_used_makes_a_profile_that_failed(
    studio: Studio, state: ResourceState | None, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = studio.nimble.settle_but_images
    monkeypatch.setattr(studio.nimble, "settle", settle)
    image_id = "unknown" if state is None else await studio.image(state=state)
    made = await studio.call("create_launch_profile", **new_profile(await studio.component(), image_id))
    asked = {"studioId": studio.studio_id, "launchProfileId": made["launchProfile"]["launchProfileId"]}
    found = (await ask(studio.api.get_launch_profile, **asked))["launchProfile"]
    assert (found["state"], found["statusCode"]) == ("CREATE_FAILED", code)
    with pytest.raises(WaiterError, match="terminal failure"):
        await ask(studio.api.get_waiter("launch_profile_ready").wait, **asked, WaiterConfig=ONCE)


async def test_an_update_that_fails_leaves_what_was_before_and_becomes_ready_again(studio: Studio) -> None:
    profile_id = await studio.profile()
    before = (await studio.call("get_launch_profile", launchProfileId=profile_id))["launchProfile"]
    wanted = new_profile("", "unknown")["streamConfiguration"]
    asked = await studio.call(
        "update_launch_profile", launchProfileId=profile_id, streamConfiguration=wanted, name="new"
    )
    assert asked["launchProfile"]["state"] == "UPDATE_IN_PROGRESS"
    failed = (await studio.call("get_launch_profile", launchProfileId=profile_id))["launchProfile"]
    assert (failed["state"], failed["statusCode"]) == ("UPDATE_FAILED", "STREAMING_IMAGE_NOT_FOUND")
    assert (failed["name"], failed["streamConfiguration"]) == (before["name"], before["streamConfiguration"])
    studio.nimble.clock.ahead = timedelta(minutes=11)
    await studio.nimble.settle()
    found = (await studio.call("get_launch_profile", launchProfileId=profile_id))["launchProfile"]
    assert (found["state"], found["statusCode"]) == ("READY", "LAUNCH_PROFILE_UPDATED")
    await studio.call("update_launch_profile", launchProfileId=profile_id, name="newer")
    found = (await studio.call("get_launch_profile", launchProfileId=profile_id))["launchProfile"]
    assert (found["name"], found["streamConfiguration"]) == ("newer", before["streamConfiguration"])


async def test_components_must_be_of_the_studio_and_there(studio: Studio) -> None:
    image_id = await studio.image()
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException) as refused:
        await studio.call("create_launch_profile", **new_profile("nobody", image_id))
    assert refused.value.response["context"] == {"resourceId": "nobody"}
    gone = await studio.component()
    await studio.call("delete_studio_component", studioComponentId=gone)
    with pytest.raises(studio.api.exceptions.ConflictException):
        await studio.call("create_launch_profile", **new_profile(gone, image_id))


async def test_a_deleted_profile_takes_its_members_with_it(studio: Studio) -> None:
    profile_id = await studio.profile()
    of = {"launchProfileId": profile_id}
    await studio.call("put_launch_profile_members", **of, identityStoreId="d-1", members=MEMBERS[:1])
    await studio.call("delete_launch_profile", **of)
    asked = {"studioId": studio.studio_id, **of, "WaiterConfig": ONCE}
    await ask(studio.api.get_waiter("launch_profile_deleted").wait, **asked)
    assert (await studio.call("list_launch_profile_members", **of))["members"] == []
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
        await studio.call("put_launch_profile_members", **of, identityStoreId="d-1", members=MEMBERS[:1])


async def test_members_of_a_profile_are_put_read_listed_and_taken_away(studio: Studio) -> None:
    profile_id = await studio.profile()
    of = {"launchProfileId": profile_id}
    answer = await studio.call("put_launch_profile_members", **of, identityStoreId="d-1", members=MEMBERS)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    last = [{"principalId": "zoe", "persona": "USER"}]
    await studio.call("put_launch_profile_members", **of, identityStoreId="d-2", members=last)
    pages = studio.api.get_paginator("list_launch_profile_members")

    def read() -> list[int]:
        return [len(page["members"]) for page in pages.paginate(studioId=studio.studio_id, **of)]

    assert await ask(read) == [20, 1]
    zoe = (await studio.call("get_launch_profile_member", **of, principalId="zoe"))["member"]
    assert zoe == {"identityStoreId": "d-2", "persona": "USER", "principalId": "zoe"}
    same = await studio.call("update_launch_profile_member", **of, principalId="zoe", persona="USER")
    assert same["member"] == zoe
    await studio.call("delete_launch_profile_member", **of, principalId="zoe", clientToken="t")
    await studio.call("delete_launch_profile_member", **of, principalId="zoe", clientToken="t")
    for operation in ("get_launch_profile_member", "delete_launch_profile_member"):
        with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
            await studio.call(operation, **of, principalId="zoe")
    with pytest.raises(studio.api.exceptions.ValidationException):
        await studio.call("put_launch_profile_members", **of, identityStoreId="d-1", members=[*MEMBERS, *last])
    with pytest.raises(studio.api.exceptions.ValidationException):
        await studio.call(
            "put_launch_profile_members",
            **of,
            identityStoreId="d-1",
            members=[{"principalId": "x", "persona": "ADMINISTRATOR"}],
        )


async def test_profiles_are_listed_by_state_and_by_who_is_a_member(studio: Studio) -> None:
    mine, other = await studio.profile(), await studio.profile()
    await studio.call("put_launch_profile_members", launchProfileId=mine, identityStoreId="d-1", members=MEMBERS[:1])
    listed = await studio.call("list_launch_profiles", principalId="user-00")
    assert [one["launchProfileId"] for one in listed["launchProfiles"]] == [mine]
    await studio.call("delete_launch_profile", launchProfileId=other)
    everything = await studio.call("list_launch_profiles")
    assert [one["launchProfileId"] for one in everything["launchProfiles"]] == [mine]
    deleted = await studio.call("list_launch_profiles", states=["DELETED"])
    assert [one["launchProfileId"] for one in deleted["launchProfiles"]] == [other]


async def test_members_of_a_studio_are_its_administrators(studio: Studio) -> None:
    boss = [{"principalId": "boss", "persona": "ADMINISTRATOR"}]
    await studio.call("put_studio_members", identityStoreId="d-1", members=boss)
    found = {"identityStoreId": "d-1", "persona": "ADMINISTRATOR", "principalId": "boss"}
    assert (await studio.call("get_studio_member", principalId="boss"))["member"] == found
    assert (await studio.call("list_studio_members"))["members"] == [found]
    await studio.call("delete_studio_member", principalId="boss")
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
        await studio.call("get_studio_member", principalId="boss")
    with pytest.raises(studio.api.exceptions.ValidationException):
        await studio.call("put_studio_members", identityStoreId="d-1", members=[*boss, *boss])


async def test_details_have_whole_images_and_summaries_of_components(studio: Studio) -> None:
    component_id, image_id = await studio.component(description="d"), await studio.image(description="i")
    made = await studio.call("create_launch_profile", **new_profile(component_id, image_id))
    profile_id = made["launchProfile"]["launchProfileId"]
    details = await studio.call("get_launch_profile_details", launchProfileId=profile_id)
    (image,), (summary,) = details["streamingImages"], details["studioComponentSummaries"]
    assert (image["streamingImageId"], image["state"], image["platform"]) == (image_id, "READY", "LINUX")
    del summary["createdAt"], summary["updatedAt"]
    assert summary == {
        "createdBy": KEY.access_key_id,
        "updatedBy": KEY.access_key_id,
        "description": "d",
        "name": "tools",
        "studioComponentId": component_id,
        "type": "CUSTOM",
    }
    assert details["launchProfile"]["launchProfileId"] == profile_id


async def test_a_machine_reads_scripts_in_the_order_of_components_and_for_its_platform(studio: Studio) -> None:
    def script(context: str, text: str, platform: str = "LINUX") -> dict[str, str]:
        return {"platform": platform, "runContext": f"{context}_INITIALIZATION", "script": text}

    second = await studio.component(
        name="second", initializationScripts=[script("USER", "u2"), script("SYSTEM", "s2")], ec2SecurityGroupIds=["b"]
    )
    first = await studio.component(
        name="first",
        type="ACTIVE_DIRECTORY",
        configuration={"activeDirectoryConfiguration": {"directoryId": "d-9"}},
        initializationScripts=[script("SYSTEM", "s1"), script("SYSTEM", "w", "WINDOWS"), script("SYSTEM", "s1b")],
        ec2SecurityGroupIds=["a", "b"],
        runtimeRoleArn="role",
    )
    wanted = {**new_profile("", await studio.image()), "studioComponentIds": [first, second]}
    made = await studio.call("create_launch_profile", **wanted)
    asked = {
        "launchProfileId": made["launchProfile"]["launchProfileId"],
        "launchProfileProtocolVersions": ["2021-03-31"],
        "launchPurpose": "WORKSTATION",
        "platform": "LINUX",
    }
    found = (await studio.call("get_launch_profile_initialization", **asked))["launchProfileInitialization"]
    assert [one["script"] for one in found["systemInitializationScripts"]] == ["s1", "s1b", "s2"]
    assert found["userInitializationScripts"] == [
        {"script": "u2", "studioComponentId": second, "studioComponentName": "second"}
    ]
    assert found["ec2SecurityGroupIds"] == ["a", "b"]
    assert found["activeDirectory"] == {
        "directoryId": "d-9",
        "studioComponentId": first,
        "studioComponentName": "first",
    }
    for wrong in (
        {"platform": "linux"},
        {"launchPurpose": "work station"},
        {"launchPurpose": "X" * 65},
        {"launchProfileProtocolVersions": ["2020-01-01"]},
    ):
        with pytest.raises(studio.api.exceptions.ValidationException):
            await studio.call("get_launch_profile_initialization", **{**asked, **wrong})


@pytest.mark.parametrize("quotas", ["Nimble Studio launch profiles=1"])
async def test_a_profile_more_than_the_quota_is_402_and_a_deleted_one_does_not_count(studio: Studio) -> None:
    profile_id = await studio.profile()
    with pytest.raises(studio.api.exceptions.ServiceQuotaExceededException):
        await studio.profile()
    await studio.call("delete_launch_profile", launchProfileId=profile_id)
    await studio.profile()
