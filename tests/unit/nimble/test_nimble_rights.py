"""Keys that may not do everything, keys that ask too often, and what the audit log says: the same as for AppStream."""

import json
from typing import Any

import pytest

from fanlight.domain.policies import parse_policy, read_only_policy
from nimble_rig import KEY, NEW_STUDIO, Studio, ask


async def limited(studio: Studio, *statements: dict[str, Any]) -> Any:
    """Return a client whose key has this policy."""
    policy = parse_policy(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    key = await studio.nimble.services.access_keys.create(KEY.account_id, policy=policy)
    return studio.nimble.client(key)


async def test_a_policy_speaks_of_actions_and_of_the_innermost_resource(studio: Studio) -> None:
    component_id = await studio.component()
    arn = f"arn:aws:nimble:us-east-1:{KEY.account_id}"
    short = studio.studio_id.removeprefix("us-east-1:")
    client = await limited(
        studio,
        {"Effect": "Allow", "Action": "nimble:GetStudio", "Resource": f"{arn}:studio/{short}"},
        {"Effect": "Allow", "Action": "nimble:*StudioComponent", "Resource": f"{arn}:studio-component/{component_id}"},
    )
    at = {"studioId": studio.studio_id}
    await ask(client.get_studio, **at)
    await ask(client.get_studio_component, **at, studioComponentId=component_id)
    for refused, of in (
        (client.update_studio, at),
        (client.list_studios, {}),
        (client.get_studio_component, {**at, "studioComponentId": "other"}),
        (client.get_studio, {"studioId": "us-east-1:stid-other"}),
        (client.create_studio_component, {**at, "name": "n", "type": "CUSTOM"}),
        (client.tag_resource, {"resourceArn": f"{arn}:studio/{short}", "tags": {"a": "b"}}),
    ):
        with pytest.raises(client.exceptions.AccessDeniedException) as error:
            await ask(refused, **of)
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert "is not authorized to perform: nimble:" in error.value.response["Error"]["Message"]


async def test_a_key_that_may_only_look_looks_and_does_nothing(studio: Studio) -> None:
    key = await studio.nimble.services.access_keys.create(KEY.account_id, policy=read_only_policy())
    client = studio.nimble.client(key)
    await ask(client.get_studio, studioId=studio.studio_id)
    await ask(client.list_studios)
    with pytest.raises(client.exceptions.AccessDeniedException):
        await ask(client.delete_studio, studioId=studio.studio_id)
    with pytest.raises(client.exceptions.AccessDeniedException):
        await ask(client.get_streaming_session_stream, studioId=studio.studio_id, sessionId="s", streamId="t")


async def test_another_account_sees_nothing_and_reaches_nothing(studio: Studio) -> None:
    component_id = await studio.component()
    client = studio.nimble.client(await studio.nimble.services.access_keys.create("111111111111"))
    assert (await ask(client.list_studios))["studios"] == []
    for reach, of in (
        (client.get_studio, {}),
        (client.delete_studio, {}),
        (client.list_studio_components, {}),
        (client.get_studio_component, {"studioComponentId": component_id}),
        (client.delete_studio_component, {"studioComponentId": component_id}),
        (client.list_studio_members, {}),
    ):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            await ask(reach, studioId=studio.studio_id, **of)
    arn = (await studio.call("get_studio"))["studio"]["arn"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        await ask(client.list_tags_for_resource, resourceArn=arn)


@pytest.mark.parametrize("writes_per_second", [1.0])
async def test_a_key_that_asks_too_often_is_429(studio: Studio) -> None:
    async def ask_often() -> None:
        for number in range(50):
            await ask(studio.api.create_studio, **{**NEW_STUDIO, "studioName": f"another{number}"})

    with pytest.raises(studio.api.exceptions.ThrottlingException) as refused:
        await ask_often()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429


async def test_the_audit_log_names_operation_and_resources_and_no_secrets(studio: Studio) -> None:
    script = {"platform": "LINUX", "runContext": "SYSTEM_INITIALIZATION", "script": "password=hunter2"}
    component_id = await studio.component(initializationScripts=[script], name="render nodes")
    await studio.call("get_studio_component", studioComponentId=component_id)
    text = studio.nimble.audit_file.read_text()
    last = json.loads(text.splitlines()[-1])
    assert (last["service"], last["operation"], last["protocol"]) == ("nimble", "GetStudioComponent", "rest-json")
    assert last["resources"] == {"StudioComponentId": component_id, "StudioId": studio.studio_id}
    assert "hunter2" not in text
    assert "render nodes" not in text
