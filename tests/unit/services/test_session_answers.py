"""Streaming URLs and sessions as clients see them: what is refused with which code, filters, pages, ends."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from service_rig import HERE, Rig, grant, new_fleet, query_of

from fanlight.api.appstream.handlers import appstream_service
from fanlight.api.dispatch import Dispatcher, Outcome
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import JSON
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import ChangedMeanwhile
from fanlight.domain.fleets import StreamView
from fanlight.domain.streaming_sessions import EndReason

Call = Callable[..., Awaitable[dict[str, Any]]]
PAIR = {"StackName": "design", "FleetName": "cad"}


def calls(rig: Rig, region: str = HERE.region) -> Call:
    dispatcher = Dispatcher(appstream_service(), rig.services, is_strict=True)
    caller = Caller("AKIA", HERE.account_id, region, "request")

    async def do(operation: str, **members: Any) -> dict[str, Any]:
        answer = await dispatcher.dispatch(JSON, operation, json.dumps(members).encode(), caller, Outcome())
        return json.loads(answer or b"{}")

    return do


@pytest.fixture
def call(pair: Rig) -> Call:
    return calls(pair)


async def open_for(rig: Rig, user_id: str) -> str:
    return (await rig.services.sessions.open_session(grant(user_id=user_id), "Editor")).session_id


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("CreateStreamingURL", {"UserId": "a"}, "ValidationException"),
        ("CreateStreamingURL", {"UserId": "a" * 33}, "ValidationException"),
        ("CreateStreamingURL", {"UserId": "a b"}, "ValidationException"),
        ("CreateStreamingURL", {"UserId": "ada\n"}, "ValidationException"),
        ("CreateStreamingURL", {"UserId": "gräfin"}, "ValidationException"),
        ("CreateStreamingURL", {}, "ValidationException"),
        ("CreateStreamingURL", {"UserId": "ada", "SessionContext": ""}, "ValidationException"),
        ("CreateStreamingURL", {"UserId": "ada", "SessionContext": "a\0b"}, "ValidationException"),
        ("CreateStreamingURL", {"UserId": "ada", "Validity": "60"}, "SerializationException"),
        ("CreateStreamingURL", {"UserId": "ada", "Validity": 0}, "InvalidParameterCombinationException"),
        ("CreateStreamingURL", {"UserId": "ada", "Validity": -1}, "InvalidParameterCombinationException"),
        ("CreateStreamingURL", {"UserId": "ada", "Validity": 604_801}, "InvalidParameterCombinationException"),
        ("CreateStreamingURL", {"UserId": "ada", "ApplicationId": "Lost"}, "ResourceNotFoundException"),
        ("CreateStreamingURL", {"UserId": "ada", "ApplicationId": "desktop"}, "ResourceNotFoundException"),
        ("CreateStreamingURL", {"UserId": "ada", "ApplicationId": "Desktop"}, "InvalidParameterCombinationException"),
        ("CreateStreamingURL", {"UserId": "ada", "FleetName": "CAD"}, "ResourceNotFoundException"),
        ("CreateStreamingURL", {"UserId": "ada", "FleetName": "alone"}, "OperationNotPermittedException"),
        ("DescribeSessions", {"FleetName": None}, "ValidationException"),
        ("DescribeSessions", {"UserId": "ada"}, "InvalidParameterCombinationException"),
        ("DescribeSessions", {"UserId": "a", "AuthenticationType": "API"}, "ValidationException"),
        ("DescribeSessions", {"AuthenticationType": "custom"}, "ValidationException"),
        ("DescribeSessions", {"Limit": 0}, "InvalidParameterCombinationException"),
        ("DescribeSessions", {"Limit": 51}, "InvalidParameterCombinationException"),
        ("DescribeSessions", {"NextToken": "x"}, "InvalidParameterCombinationException"),
        ("DescribeSessions", {"NextToken": ""}, "ValidationException"),
    ],
)
async def test_what_is_wrong_is_refused_in_the_code_of_the_operation(
    call: Call, pair: Rig, operation: str, members: dict[str, Any], code: str
) -> None:
    await pair.services.fleets.create(HERE, new_fleet("alone"))
    with pytest.raises(WireError) as raised:
        await call(operation, **{**PAIR, **members})
    assert raised.value.code == code


@pytest.mark.parametrize("user_id", ["ad", "A" * 32, "ada.l+x=y,z_@-9"])
async def test_every_user_id_of_the_service_is_taken(call: Call, pair: Rig, user_id: str) -> None:
    url = await call("CreateStreamingURL", **PAIR, UserId=user_id, Validity=604_800)
    assert (await pair.services.sessions.redeem(*query_of(url["StreamingURL"]))).user_id == user_id


async def test_a_second_link_of_a_user_leads_to_the_session_that_lives(call: Call, pair: Rig) -> None:
    await pair.apply("cad", stream_view=StreamView.DESKTOP)
    opened = set()
    for more in ({"ApplicationId": "Desktop", "SessionContext": "first"}, {"SessionContext": "second"}, {}):
        url = (await call("CreateStreamingURL", **PAIR, UserId="ada", **more))["StreamingURL"]
        session = await pair.services.sessions.open_session(await pair.services.sessions.redeem(*query_of(url)), None)
        opened.add(session.session_id)
        assert session.session_context == "first"
    assert len((await call("DescribeSessions", **PAIR))["Sessions"]) == len(opened) == 1


async def test_filters_narrow_the_list(call: Call, pair: Rig) -> None:
    mine, other = await open_for(pair, "ada"), await open_for(pair, "Ada")
    async with pair.transactions.begin(write=True) as work:
        session = await work.sessions.find(other)
        assert session is not None
        await work.sessions.save(replace(session, instance_id="i-1"))
        await work.commit()

    async def listed(**filters: Any) -> set[str]:
        return {each["Id"] for each in (await call("DescribeSessions", **{**PAIR, **filters}))["Sessions"]}

    assert await listed() == {mine, other}
    assert await listed(UserId="ada", AuthenticationType="API") == {mine}
    assert await listed(UserId="ada", AuthenticationType="SAML") == set()
    assert await listed(AuthenticationType="USERPOOL") == set()
    assert await listed(InstanceId="i-1") == {other}
    assert await listed(InstanceId="i-1", UserId="ada", AuthenticationType="API") == set()
    assert await listed(FleetName="CAD") == await listed(StackName="lost") == set()


async def test_pages_show_each_session_once_though_others_come_and_go(call: Call, pair: Rig) -> None:
    stay = {await open_for(pair, f"stays-{number}") for number in range(45)}
    seen: list[str] = []
    page = await call("DescribeSessions", **PAIR)
    for number in range(100):
        assert len(page["Sessions"]) <= 20
        seen += [each["Id"] for each in page["Sessions"]]
        if "NextToken" not in page:
            break
        await open_for(pair, f"comes-{number}")
        page = await call("DescribeSessions", **PAIR, NextToken=page["NextToken"])
    assert stay <= set(seen)
    assert len(seen) == len(set(seen))
    assert [each["Id"] for each in (await call("DescribeSessions", **PAIR, Limit=50))["Sessions"]] == sorted(
        {each["Id"] for each in (await call("DescribeSessions", **PAIR, Limit=50))["Sessions"]}
    )


async def test_expiring_is_a_wish_that_may_be_repeated_and_reaches_nobody_elses(call: Call, pair: Rig) -> None:
    session_id = await open_for(pair, "ada")
    assert await calls(pair, "eu-west-1")("ExpireSession", SessionId=session_id) == {}
    assert (await pair.services.sessions.find(session_id)).end_requested is None
    for _ in range(2):
        assert await call("ExpireSession", SessionId=session_id) == {}
    assert (await pair.services.sessions.find(session_id)).end_requested is EndReason.EXPIRED_BY_ADMINISTRATOR
    with pytest.raises(WireError) as raised:
        await call("ExpireSession", SessionId="")
    assert raised.value.code == "ValidationException"


async def test_expiring_tries_again_when_the_session_changes_at_that_moment(
    call: Call, pair: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = await open_for(pair, "ada")
    asked = pair.services.sessions.request_end
    attempts = []

    async def busy(session_id: str, reason: EndReason) -> Any:
        attempts.append(session_id)
        if len(attempts) < 3:
            raise ChangedMeanwhile("streaming session", session_id)
        return await asked(session_id, reason)

    monkeypatch.setattr(pair.services.sessions, "request_end", busy)
    assert await call("ExpireSession", SessionId=session_id) == {}
    assert (await pair.services.sessions.find(session_id)).end_requested is EndReason.EXPIRED_BY_ADMINISTRATOR
