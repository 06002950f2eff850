"""Studio components: every type, what fits together, what is in the way of a change."""

from typing import Any

import pytest
from botocore.exceptions import WaiterError

from nimble_rig import KEY, NEW_COMPONENT, Studio, ask, new_profile

ONCE = {"MaxAttempts": 1}
SCRIPTS = [
    {
        "platform": "LINUX",
        "runContext": "SYSTEM_INITIALIZATION",
        "script": "echo system",
        "launchProfileProtocolVersion": "2021-03-31",
    },
    {
        "platform": "LINUX",
        "runContext": "USER_INITIALIZATION",
        "script": "echo user",
        "launchProfileProtocolVersion": "2021-03-31",
    },
]
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "ACTIVE_DIRECTORY": {
        "activeDirectoryConfiguration": {
            "directoryId": "d-1",
            "organizationalUnitDistinguishedName": "OU=a",
            "computerAttributes": [{"name": "n", "value": "v"}],
        }
    },
    "SHARED_FILE_SYSTEM": {
        "sharedFileSystemConfiguration": {
            "endpoint": "fs.example",
            "fileSystemId": "fs-1",
            "linuxMountPoint": "/mnt/projects",
            "shareName": "projects",
            "windowsMountDrive": "Z",
        }
    },
    "COMPUTE_FARM": {"computeFarmConfiguration": {"endpoint": "farm.example", "activeDirectoryUser": "render"}},
    "LICENSE_SERVICE": {"licenseServiceConfiguration": {"endpoint": "licenses.example:1055"}},
}


@pytest.mark.parametrize("kind", [*CONFIGURATIONS, "CUSTOM"])
async def test_a_component_of_each_type_comes_back_as_it_was_given(studio: Studio, kind: str) -> None:
    wanted: dict[str, Any] = {
        "name": "one",
        "description": "what it is",
        "type": kind,
        "initializationScripts": SCRIPTS,
        "scriptParameters": [{"key": "SITE", "value": "a b"}],
        "ec2SecurityGroupIds": ["sg-1"],
        "runtimeRoleArn": "arn:aws:iam::0:role/r",
        "secureInitializationRoleArn": "arn:aws:iam::0:role/s",
        "tags": {"a": "b"},
    }
    if kind in CONFIGURATIONS:
        wanted["configuration"] = CONFIGURATIONS[kind]
    made = (await studio.call("create_studio_component", **wanted))["studioComponent"]
    assert (made["state"], made["statusCode"]) == ("CREATE_IN_PROGRESS", "STUDIO_COMPONENT_CREATE_IN_PROGRESS")
    component_id = made["studioComponentId"]
    asked = {"studioId": studio.studio_id, "studioComponentId": component_id}
    await ask(studio.api.get_waiter("studio_component_ready").wait, **asked, WaiterConfig=ONCE)
    found = (await studio.call("get_studio_component", studioComponentId=component_id))["studioComponent"]
    del found["createdAt"], found["updatedAt"]
    assert found == {
        **wanted,
        "arn": f"arn:aws:nimble:us-east-1:000000000000:studio-component/{component_id}",
        "createdBy": KEY.access_key_id,
        "updatedBy": KEY.access_key_id,
        "state": "READY",
        "statusCode": "STUDIO_COMPONENT_CREATED",
        "statusMessage": "The studio component was created.",
        "studioComponentId": component_id,
    }


MISFITS = [
    *(
        {"type": kind, "configuration": configuration}
        for kind in [*CONFIGURATIONS, "CUSTOM"]
        for other, configuration in CONFIGURATIONS.items()
        if other != kind
    ),
    {"type": "CUSTOM", "subtype": "AWS_MANAGED_MICROSOFT_AD"},
    {"type": "ACTIVE_DIRECTORY", "subtype": "AMAZON_FSX_FOR_LUSTRE"},
    {"type": "SHARED_FILE_SYSTEM", "subtype": "AWS_MANAGED_MICROSOFT_AD"},
    {"scriptParameters": [{"key": "A1", "value": "x"}, {"key": "A1", "value": "y"}]},
    {"scriptParameters": [{"key": "1A", "value": "x"}]},
    {"scriptParameters": [{"key": "A1"}]},
    {"scriptParameters": [{"key": f"K{number}", "value": "x"} for number in range(31)]},
    {"initializationScripts": [{"platform": "LINUX", "script": "x"}]},
    {"initializationScripts": [{**SCRIPTS[0], "script": "x" * 5121}]},
    {"initializationScripts": [{**SCRIPTS[0], "platform": "PLAN9"}]},
    {"initializationScripts": [{**SCRIPTS[0], "launchProfileProtocolVersion": "2022-03-31"}]},
    {"ec2SecurityGroupIds": [f"sg-{number}" for number in range(31)]},
    {"name": "x" * 65},
    {"description": "x" * 257},
    {"runtimeRoleArn": "x" * 2049},
    {"type": "PRINTER"},
    {
        "type": "SHARED_FILE_SYSTEM",
        "configuration": {"sharedFileSystemConfiguration": {"linuxMountPoint": "relative/path"}},
    },
    {"type": "SHARED_FILE_SYSTEM", "configuration": {"sharedFileSystemConfiguration": {"windowsMountDrive": "zz"}}},
]


async def test_what_does_not_fit_together_is_refused_and_makes_nothing(studio: Studio) -> None:
    for wrong in MISFITS:
        with pytest.raises(studio.api.exceptions.ValidationException):
            await studio.call("create_studio_component", **{**NEW_COMPONENT, **wrong})
    assert (await studio.call("list_studio_components"))["studioComponents"] == []


async def test_a_second_active_directory_fails_and_does_not_keep_the_first_from_anything(studio: Studio) -> None:
    first = await studio.component(type="ACTIVE_DIRECTORY")
    second = await studio.component(type="ACTIVE_DIRECTORY")
    failed = (await studio.call("get_studio_component", studioComponentId=second))["studioComponent"]
    assert (failed["state"], failed["statusCode"]) == ("CREATE_FAILED", "ACTIVE_DIRECTORY_ALREADY_EXISTS")
    asked = {"studioId": studio.studio_id, "studioComponentId": second, "WaiterConfig": ONCE}
    with pytest.raises(WaiterError, match="terminal failure"):
        await ask(studio.api.get_waiter("studio_component_ready").wait, **asked)
    await studio.call("update_studio_component", studioComponentId=first, name="directory")
    other = await studio.component()
    with pytest.raises(studio.api.exceptions.ConflictException):
        await studio.call("update_studio_component", studioComponentId=other, type="ACTIVE_DIRECTORY")
    await studio.call("delete_studio_component", studioComponentId=first)
    await studio.call("update_studio_component", studioComponentId=other, type="ACTIVE_DIRECTORY")


async def test_an_update_changes_what_it_names_and_must_fit_what_stays(studio: Studio) -> None:
    component_id = await studio.component(
        type="LICENSE_SERVICE", configuration=CONFIGURATIONS["LICENSE_SERVICE"], description="before"
    )
    changed = await studio.call("update_studio_component", studioComponentId=component_id, name="licences")
    assert changed["studioComponent"]["state"] == "UPDATE_IN_PROGRESS"
    found = (await studio.call("get_studio_component", studioComponentId=component_id))["studioComponent"]
    assert (found["name"], found["description"], found["statusCode"]) == (
        "licences",
        "before",
        "STUDIO_COMPONENT_UPDATED",
    )
    with pytest.raises(studio.api.exceptions.ValidationException):
        await studio.call("update_studio_component", studioComponentId=component_id, type="COMPUTE_FARM")
    await studio.call(
        "update_studio_component",
        studioComponentId=component_id,
        type="COMPUTE_FARM",
        configuration=CONFIGURATIONS["COMPUTE_FARM"],
    )


async def test_a_component_goes_when_no_launch_profile_has_it(studio: Studio) -> None:
    component_id, image_id = await studio.component(), await studio.image()
    made = await studio.call("create_launch_profile", **new_profile(component_id, image_id))
    profile_id = made["launchProfile"]["launchProfileId"]
    with pytest.raises(studio.api.exceptions.ConflictException) as refused:
        await studio.call("delete_studio_component", studioComponentId=component_id)
    assert refused.value.response["context"] == {"resourceId": profile_id}
    await studio.call("delete_launch_profile", launchProfileId=profile_id)
    await studio.call("delete_studio_component", studioComponentId=component_id)
    asked = {"studioId": studio.studio_id, "studioComponentId": component_id, "WaiterConfig": ONCE}
    await ask(studio.api.get_waiter("studio_component_deleted").wait, **asked)
    gone = (await studio.call("delete_studio_component", studioComponentId=component_id))["studioComponent"]
    assert (gone["state"], gone["statusCode"]) == ("DELETED", "STUDIO_COMPONENT_DELETED")


async def test_components_are_listed_by_type_and_state_page_by_page(studio: Studio) -> None:
    farms = {await studio.component(type="COMPUTE_FARM") for _ in range(3)}
    custom = await studio.component()
    await studio.call("delete_studio_component", studioComponentId=custom)
    pages = studio.api.get_paginator("list_studio_components")

    async def listed(**filters: Any) -> list[list[str]]:
        def read() -> list[list[str]]:
            return [
                [component["studioComponentId"] for component in page["studioComponents"]]
                for page in pages.paginate(studioId=studio.studio_id, PaginationConfig={"PageSize": 2}, **filters)
            ]

        return await ask(read)  # type: ignore[no-any-return]

    assert [len(page) for page in await listed()] == [2, 1]
    assert {one for page in await listed(types=["COMPUTE_FARM", "CUSTOM"]) for one in page} == farms
    assert await listed(types=["CUSTOM"]) == [[]]
    assert await listed(types=["CUSTOM"], states=["READY", "DELETED"]) == [[custom]]
    first = await studio.call("list_studio_components", maxResults=1)
    with pytest.raises(studio.api.exceptions.ValidationException, match="NextToken"):
        await studio.call("list_studio_components", types=["CUSTOM"], nextToken=first["nextToken"])
    with pytest.raises(studio.api.exceptions.ValidationException):
        await studio.call("list_studio_components", nextToken="junk")


@pytest.mark.parametrize("quotas", ["aws"])
async def test_the_eleventh_shared_file_system_is_402(studio: Studio) -> None:
    for _ in range(10):
        await studio.component(type="SHARED_FILE_SYSTEM")
    with pytest.raises(studio.api.exceptions.ServiceQuotaExceededException) as refused:
        await studio.component(type="SHARED_FILE_SYSTEM")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 402
    await studio.component()


async def test_nothing_is_put_into_a_studio_that_is_not_there(studio: Studio) -> None:
    await studio.call("delete_studio")
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
        await studio.component()
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
        await ask(studio.api.list_studio_components, studioId="us-east-1:stid-0000000000000000")


async def test_a_component_of_one_studio_is_not_found_in_another(studio: Studio) -> None:
    component_id = await studio.component()
    made = await ask(studio.api.create_studio, studioName="other", displayName="o", adminRoleArn="a", userRoleArn="u")
    await studio.nimble.settle()
    with pytest.raises(studio.api.exceptions.ResourceNotFoundException):
        await ask(
            studio.api.get_studio_component,
            studioId=made["studio"]["studioId"],
            studioComponentId=component_id,
        )


async def test_a_studio_with_something_in_it_is_not_deleted(studio: Studio) -> None:
    component_id = await studio.component()
    await studio.call("delete_studio")
    failed = (await studio.call("get_studio"))["studio"]
    assert (failed["state"], failed["statusCode"]) == ("DELETE_FAILED", "STUDIO_WITH_STUDIO_COMPONENTS_NOT_DELETED")
    asked = {"studioId": studio.studio_id, "WaiterConfig": ONCE}
    with pytest.raises(WaiterError, match="terminal failure"):
        await ask(studio.api.get_waiter("studio_deleted").wait, **asked)
    await studio.component()  # it is there and can be used all the same
    await studio.call("delete_studio_component", studioComponentId=component_id)
