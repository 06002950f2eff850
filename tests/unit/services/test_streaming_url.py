"""Streaming URLs: what they look like, and that nobody but us can make or change one."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_rig import ELSEWHERE, HERE, NOW, Rig, grant, new_fleet, query_of

from fanlight.domain.errors import DomainError, InvalidCombination, NotAvailable, NotFound, NotPermitted, UrlRefused
from fanlight.domain.fleets import FleetEvent, FleetState, StreamView
from fanlight.services.stacks import NewStack
from fanlight.services.streaming_urls import LONGEST_PARAMETERS, StreamingUrls

KEY = b"k" * 32


def signed(members: Any) -> tuple[str, str]:
    """Return parameters and signature for any content, signed with the installation's own key."""
    text = members if isinstance(members, bytes) else json.dumps(members).encode()
    parameters = base64.b64encode(text).decode()
    return parameters, base64.b64encode(hmac.digest(KEY, parameters.encode(), hashlib.sha256)).decode()


MEMBERS = {
    "type": "END_USER",
    "expires": str(int((NOW + timedelta(seconds=60)).timestamp())),
    "awsAccountId": "000000000000",
    "userId": "ada",
    "catalogSource": "stack/design",
    "fleetRef": "fleet/cad",
    "applicationId": "",
    "userContext": "",
    "maxUserDurationInSecs": "57600",
    "region": "us-east-1",
}


async def test_the_url_has_the_documented_form(pair: Rig) -> None:
    url, expires_at = await pair.services.sessions.create_url(
        HERE, stack_name="design", fleet_name="cad", user_id="ada", application_id="Editor", session_context="a=b&c"
    )
    parameters, signature = query_of(url)
    assert (
        url
        == f"https://apps.example.org/authenticate?parameters={quote(parameters, '')}&signature={quote(signature, '')}"
    )
    assert expires_at == NOW + timedelta(seconds=60)
    assert json.loads(base64.b64decode(parameters)) == {**MEMBERS, "applicationId": "Editor", "userContext": "a=b&c"}
    assert base64.b64decode(signature) == hmac.digest(KEY, parameters.encode(), hashlib.sha256)
    assert urlsplit(url).path == "/authenticate"


async def test_a_url_may_be_opened_again_until_it_expires_even_at_another_host(pair: Rig) -> None:
    url, expires_at = await pair.services.sessions.create_url(
        HERE,
        stack_name="design",
        fleet_name="cad",
        user_id="ada",
        application_id="Editor",
        session_context="Grüße 🎨",
        validity_in_seconds=90,
    )
    wanted = grant(application_id="Editor", session_context="Grüße 🎨", expires_at=expires_at)
    for _ in range(2):
        assert await pair.services.sessions.redeem(*query_of(url)) == wanted
    pair.clock.advance(timedelta(seconds=89))
    assert await pair.services.sessions.redeem(*query_of(url)) == wanted
    pair.clock.advance(timedelta(seconds=1))
    with pytest.raises(UrlRefused, match="This link has expired") as raised:
        await pair.services.sessions.redeem(*query_of(url))
    assert raised.value.code == "EXPIRED"


@pytest.mark.parametrize("seconds", [1, 604_800])
async def test_the_longest_and_the_shortest_validity(pair: Rig, seconds: int) -> None:
    _, expires_at = await pair.services.sessions.create_url(
        HERE, stack_name="design", fleet_name="cad", user_id="ada", validity_in_seconds=seconds
    )
    assert expires_at == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"validity_in_seconds": 0}, InvalidCombination, "Validity is 0 seconds; it must be between 1 and 604800."),
        ({"validity_in_seconds": 10**30}, InvalidCombination, f"Validity is {10**30} seconds"),
        ({"stack_name": "lost"}, NotFound, "The stack lost does not exist."),
        ({"fleet_name": "lost"}, NotFound, "The fleet lost does not exist."),
        ({"application_id": "Lost"}, NotFound, "The application Lost does not exist."),
        ({"application_id": "Hidden"}, NotFound, "The application Hidden does not exist."),
        ({"application_id": "Desktop"}, InvalidCombination, "The application Desktop is the whole desktop, and the fleet"),
        ({"session_context": "x" * LONGEST_PARAMETERS}, InvalidCombination, "The SessionContext is too long"),
        ({"fleet_name": "alone"}, NotPermitted, "The fleet alone is not associated with the stack design."),
    ],
)  # fmt: skip
async def test_no_url_for_what_could_not_be_opened(
    pair: Rig, wrong: dict[str, Any], error: type[DomainError], text: str
) -> None:
    await pair.services.fleets.create(HERE, new_fleet("alone"))
    asked: dict[str, Any] = {"stack_name": "design", "fleet_name": "cad", "user_id": "ada", **wrong}
    with pytest.raises(error) as raised:
        await pair.services.sessions.create_url(HERE, **asked)
    assert str(raised.value).startswith(text)


async def test_no_url_for_another_scope(pair: Rig) -> None:
    for scope in ELSEWHERE:
        with pytest.raises(NotFound):
            await pair.services.sessions.create_url(scope, stack_name="design", fleet_name="cad", user_id="ada")


@pytest.mark.parametrize("state", [state for state in FleetState if state is not FleetState.RUNNING])
async def test_a_fleet_that_does_not_run_gives_no_streaming_url_and_opens_none(pair: Rig, state: FleetState) -> None:
    url, _ = await pair.services.sessions.create_url(HERE, stack_name="design", fleet_name="cad", user_id="ada")
    way = (FleetEvent.STOP_REQUESTED, FleetEvent.LAST_INSTANCE_GONE, FleetEvent.START_REQUESTED)
    await pair.apply("cad", *way[: [FleetState.STOPPING, FleetState.STOPPED, FleetState.STARTING].index(state) + 1])
    with pytest.raises(NotAvailable, match=f"The fleet cad is {state}. A streaming URL needs a fleet that is RUNNING"):
        await pair.services.sessions.create_url(HERE, stack_name="design", fleet_name="cad", user_id="ada")
    with pytest.raises(UrlRefused) as raised:
        await pair.services.sessions.redeem(*query_of(url))
    assert raised.value.code == "FLEET_NOT_RUNNING"


async def test_the_desktop_needs_the_desktop_view(pair: Rig) -> None:
    await pair.apply("cad", stream_view=StreamView.DESKTOP)
    url, expires_at = await pair.services.sessions.create_url(
        HERE, stack_name="design", fleet_name="cad", user_id="ada", application_id="Desktop"
    )
    assert await pair.services.sessions.redeem(*query_of(url)) == grant(application_id="Desktop", expires_at=expires_at)


async def test_a_url_made_by_a_clock_that_was_ahead_is_refused(pair: Rig) -> None:
    pair.clock.advance(timedelta(days=365))
    url, _ = await pair.services.sessions.create_url(HERE, stack_name="design", fleet_name="cad", user_id="ada")
    pair.clock.advance(-timedelta(days=365))
    with pytest.raises(UrlRefused) as raised:
        await pair.services.sessions.redeem(*query_of(url))
    assert raised.value.code == "EXPIRED"


async def test_a_url_to_something_that_is_gone_is_refused_in_words(pair: Rig) -> None:
    url, _ = await pair.services.sessions.create_url(HERE, stack_name="design", fleet_name="cad", user_id="ada")
    await pair.services.associations.disassociate(HERE, "design", "cad")
    with pytest.raises(UrlRefused) as raised:
        await pair.services.sessions.redeem(*query_of(url))
    assert raised.value.code == "NOT_ASSOCIATED"
    await pair.services.stacks.delete(HERE, "design")
    with pytest.raises(UrlRefused) as raised:
        await pair.services.sessions.redeem(*query_of(url))
    assert raised.value.code == "NOT_FOUND"
    await pair.services.stacks.create(HERE, NewStack(name="design"))


async def test_a_url_of_another_installation_is_refused(pair: Rig) -> None:
    foreign = StreamingUrls(b"another key, as long as ours.....", lambda: "https://apps.example.org")
    url = foreign.issue(grant(), timedelta(hours=1))
    assert url is not None
    with pytest.raises(UrlRefused) as raised:
        await pair.services.sessions.redeem(*query_of(url))
    assert raised.value.code == "ALTERED"


# ── Junk ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

URLS = StreamingUrls(KEY, lambda: "https://apps.example.org")
GOOD_PARAMETERS, GOOD_SIGNATURE = signed(MEMBERS)


def test_the_members_above_are_good() -> None:
    assert URLS.read(GOOD_PARAMETERS, GOOD_SIGNATURE) == grant()


@given(position=st.integers(0, len(GOOD_PARAMETERS) - 1), letter=st.characters())
def test_no_letter_of_the_parameters_can_be_changed(position: int, letter: str) -> None:
    altered = GOOD_PARAMETERS[:position] + letter + GOOD_PARAMETERS[position + 1 :]
    if altered != GOOD_PARAMETERS:
        with pytest.raises(UrlRefused):
            URLS.read(altered, GOOD_SIGNATURE)


@given(parameters=st.text(), signature=st.text())
def test_junk_is_refused(parameters: str, signature: str) -> None:
    with pytest.raises(UrlRefused, match="This link is not valid"):
        URLS.read(parameters, signature)


@pytest.mark.parametrize(
    "signature", ["", "AAAA", GOOD_SIGNATURE[:-4], GOOD_SIGNATURE + "A", GOOD_SIGNATURE + "\n", "ü", "A" * 100_000]
)
def test_a_wrong_signature_is_refused(signature: str) -> None:
    with pytest.raises(UrlRefused):
        URLS.read(GOOD_PARAMETERS, signature)


@pytest.mark.parametrize(
    "content",
    [
        [],
        None,
        "text",
        b"",
        b"\xff\xfe",
        b"{",
        b"[" * 4000,
        {},
        {**MEMBERS, "more": "x"},
        {name: value for name, value in MEMBERS.items() if name != "region"},
        {**MEMBERS, "type": "ADMIN"},
        {**MEMBERS, "expires": 1},
        {**MEMBERS, "expires": "soon"},
        {**MEMBERS, "expires": "9" * 40},
        {**MEMBERS, "userId": None},
        {**MEMBERS, "userId": ["ada"]},
        {**MEMBERS, "catalogSource": "image-builder/x"},
        {**MEMBERS, "fleetRef": "cad"},
    ],
    ids=str,
)
def test_even_signed_content_must_be_exactly_ours(content: Any) -> None:
    """Only we can sign; a later version of us may sign something that this one does not understand."""
    with pytest.raises(UrlRefused) as raised:
        URLS.read(*signed(content))
    assert raised.value.code == "ALTERED"


def test_oversized_parameters_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(UrlRefused):
        URLS.read(*signed({**MEMBERS, "userContext": "x" * LONGEST_PARAMETERS}))
    longest = replace(grant(), session_context="x" * 5_700)
    assert URLS.issue(longest, timedelta(hours=1)) is not None
