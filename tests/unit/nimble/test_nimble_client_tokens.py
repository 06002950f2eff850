"""Calls that come again with their client token: every operation that takes one, one at a time and all at once."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from botocore import xform_name
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from test_nimble_session_plan import add
from test_nimble_streaming_images import add_image
from yarl import URL

from fanlight.api.spec.nimble_model import nimble_table
from fanlight.domain.nimble.sessions import StudioSessionState
from nimble_rig import EULAS, KEY, NEW_COMPONENT, NEW_STUDIO, Studio, ask, new_profile

OPERATIONS = nimble_table()["operations"]
WITH_TOKEN = {
    xform_name(name)
    for name, one in OPERATIONS.items()
    if "clientToken" in nimble_table()["shapes"][one["input"]]["members"]
}
MEMBERS = {"identityStoreId": "d-1"}


def member(principal_id: str, persona: str = "USER") -> dict[str, Any]:
    return {**MEMBERS, "members": [{"principalId": principal_id, "persona": persona}]}


async def new_studio(studio: Studio, name: str) -> dict[str, str]:
    made = await ask(studio.api.create_studio, **{**NEW_STUDIO, "studioName": name})
    await studio.nimble.settle()
    return {"studioId": made["studio"]["studioId"]}


async def calls(studio: Studio) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return every operation with a call of it that succeeds, and what to change for another call.

    In an order in which each succeeds after those before it; nothing is ever needed by two of them but the studio.
    """
    at = {"studioId": studio.studio_id}
    image = await add_image(studio)
    [component, spare] = [{**at, "studioComponentId": await studio.component()} for _ in range(2)]
    [picture, second] = [{**at, "streamingImageId": await studio.image()} for _ in range(2)]
    [profile, last] = [{**at, "launchProfileId": await studio.profile()} for _ in range(2)]
    stream = new_profile(component["studioComponentId"], picture["streamingImageId"])
    found = {}
    for name, state in (("ready", "READY"), ("stopping", "READY"), ("stopped", "STOPPED"), ("failed", "CREATE_FAILED")):
        found[name] = {**at, "sessionId": (await add(studio, StudioSessionState(state))).session_id}
    empty, other = await new_studio(studio, "empty"), await new_studio(studio, "other")
    studio.nimble.portal[0] = "https://portal.example"  # so that there is something to repair
    return [
        ("create_studio", {**NEW_STUDIO, "studioName": "fresh"}, {"displayName": "Other"}),
        ("update_studio", {**at, "displayName": "New"}, {"displayName": "Newer"}),
        ("start_studio_sso_configuration_repair", at, empty),
        ("put_studio_members", {**at, **member("boss", "ADMINISTRATOR")}, member("chief", "ADMINISTRATOR")),
        ("create_streaming_image", {**at, "ec2ImageId": image.ami_id, "name": "i"}, {"name": "j"}),
        ("update_streaming_image", {**picture, "name": "new"}, {"name": "newer"}),
        ("accept_eulas", {**at, "eulaIds": [EULAS[0].eula_id]}, {"eulaIds": [EULAS[1].eula_id]}),
        ("create_studio_component", {**at, **NEW_COMPONENT, "name": "c"}, {"name": "d"}),
        ("update_studio_component", {**spare, "description": "new"}, {"description": "newer"}),
        ("create_launch_profile", {**at, **stream}, {"name": "other"}),
        ("update_launch_profile", {**profile, "description": "new"}, {"description": "newer"}),
        ("put_launch_profile_members", {**profile, **member("artist")}, member("painter")),
        ("update_launch_profile_member", {**profile, "principalId": "artist", "persona": "USER"}, {"principalId": "x"}),
        ("create_streaming_session", {**profile, "ownedBy": "artist"}, {"ownedBy": "painter"}),
        ("create_streaming_session_stream", {**found["ready"], "expirationInSeconds": 60}, {"expirationInSeconds": 61}),
        ("stop_streaming_session", found["stopping"], found["ready"]),
        ("start_streaming_session", found["stopped"], found["ready"]),
        ("delete_streaming_session", found["failed"], found["ready"]),
        ("delete_launch_profile_member", {**profile, "principalId": "artist"}, {"principalId": "painter"}),
        ("delete_launch_profile", last, profile),
        ("delete_studio_component", spare, component),
        ("delete_streaming_image", second, picture),
        ("delete_studio_member", {**at, "principalId": "boss"}, {"principalId": "chief"}),
        ("delete_studio", empty, other),
    ]


async def test_every_call_that_comes_again_does_nothing_and_another_with_its_token_is_refused(studio: Studio) -> None:
    done = set()
    for operation, arguments, changes in await calls(studio):
        call, done = getattr(studio.api, operation), done | {operation}
        first = await ask(call, **arguments, clientToken="t" * 64)
        await studio.nimble.settle()
        before = studio.nimble.store.transactions.revision()
        again = await ask(call, **arguments, clientToken="t" * 64)
        assert studio.nimble.store.transactions.revision() == before, operation
        assert ids_in(again) == ids_in(first), operation
        with pytest.raises(ClientError, match="other parameters") as refused:
            await ask(call, **{**arguments, **changes}, clientToken="t" * 64)
        assert refused.value.response["Error"]["Code"] == "ValidationException", operation
        assert studio.nimble.store.transactions.revision() == before, operation
    assert done == WITH_TOKEN
    assert len(done) == 24


def ids_in(answer: dict[str, Any]) -> list[str]:
    """Return the ids of what an answer shows."""
    shown = [one for part in answer.values() for one in (part if isinstance(part, list) else [part])]
    return [one[name] for one in shown for name in one if name.endswith("Id") and name != "RequestId"]


MAKING = {
    "create_studio": "studioId",
    "create_streaming_image": "streamingImageId",
    "accept_eulas": "eulaAcceptanceId",
    "create_studio_component": "studioComponentId",
    "create_launch_profile": "launchProfileId",
    "create_streaming_session": "sessionId",
    "create_streaming_session_stream": "streamId",
}


async def test_a_hundred_identical_creates_at_once_make_one_resource(studio: Studio) -> None:
    made = set()
    for operation, arguments, _ in await calls(studio):
        if operation not in MAKING:
            continue
        made.add(operation)
        name = next(one for one in OPERATIONS if xform_name(one) == operation)
        method, uri = OPERATIONS[name]["method"], OPERATIONS[name]["uri"]
        path = uri.format(**{key: quote(value, safe="") for key, value in arguments.items() if f"{{{key}}}" in uri})
        body = json.dumps({key: value for key, value in arguments.items() if f"{{{key}}}" not in uri}).encode()
        answers = await a_hundred_times(method, studio.nimble.url + path, body)
        assert {status for status, _ in answers} == {200}, (operation, answers[0])
        [shown] = {json.dumps(sorted(found_in(answer, MAKING[operation]))) for _, answer in answers}
        assert len(json.loads(shown)) == 1, operation
        await studio.nimble.settle()
    assert made == set(MAKING)


async def a_hundred_times(method: str, url: str, body: bytes) -> list[tuple[int, bytes]]:
    """Send one signed request on a hundred connections at once."""
    request = AWSRequest(method, url, data=body, headers={"X-Amz-Client-Token": "once", "Content-Type": "text/json"})
    SigV4Auth(Credentials(KEY.access_key_id, KEY.secret_access_key), "nimble", "us-east-1").add_auth(request)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def once() -> tuple[int, bytes]:
            async with http.request(method, URL(url, encoded=True), data=body, headers=dict(request.headers)) as answer:
                return answer.status, await answer.read()

        return await asyncio.gather(*(once() for _ in range(100)))


def found_in(answer: bytes, member: str) -> list[str]:
    [shown] = json.loads(answer).values()
    return [one[member] for one in (shown if isinstance(shown, list) else [shown])]
