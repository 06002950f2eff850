"""Sessions: one per user, found again, recorded as they happen, and ended by wish."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from service_rig import ELSEWHERE, HERE, NOW, Rig, grant

from fanlight.domain.errors import DomainError, InvalidCombination, InvalidPageToken, NotFound, UrlRefused
from fanlight.domain.fleets import StreamView
from fanlight.domain.stacks import UserAction, UserSettings
from fanlight.domain.streaming_sessions import (
    ConnectionState,
    EndReason,
    SessionEvent,
    SessionState,
    StreamingSession,
)
from fanlight.services.stacks import StackChange
from fanlight.store import open_store


async def save(rig: Rig, session: StreamingSession) -> StreamingSession:
    async with rig.transactions.begin(write=True) as work:
        saved = await work.sessions.save(session)
        await work.commit()
    return saved


# ── Opening ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_opening_makes_a_pending_session_and_wakes_its_reconciler(pair: Rig) -> None:
    session = await pair.services.sessions.open_session(grant(session_context="a=b"), "Editor")
    fleet = await pair.fleet()
    assert session == StreamingSession(
        session_id=session.session_id,
        scope=HERE,
        stack_name="design",
        fleet_name="cad",
        fleet_id=fleet.fleet_id,
        user_id="ada",
        authentication_type="API",
        state=SessionState.PENDING,
        application_id="Editor",
        session_context="a=b",
        created_at=NOW,
        max_expires_at=NOW + timedelta(seconds=57600),
        progress="Waiting for an instance",
    )
    assert pair.woken == [("session", session.session_id)]
    assert await pair.services.sessions.find(session.session_id) == session
    assert await pair.services.sessions.find_live(grant()) == session


async def test_who_comes_again_comes_back_to_the_session(pair: Rig) -> None:
    first = await pair.services.sessions.open_session(grant(), "Editor")
    pair.clock.advance(timedelta(minutes=5))
    assert await pair.services.sessions.open_session(grant(), "Editor") == first
    other = await pair.services.sessions.open_session(grant(user_id="bob"), "Editor")
    assert other.session_id != first.session_id


async def test_of_many_who_open_at_once_all_get_one_session(pair: Rig, store: Any) -> None:
    sessions = await asyncio.gather(*(pair.services.sessions.open_session(grant(), "Editor") for _ in range(8)))
    assert len({session.session_id for session in sessions}) == 1
    async with open_store(str(store._engine.url)) as other_process, other_process.transactions.begin() as work:
        assert await work.sessions.live() == [sessions[0]]


@pytest.mark.parametrize(
    ("view", "of_url", "chosen", "kept"),
    [
        (StreamView.APP, None, "Editor", "Editor"),
        (StreamView.APP, "Editor", None, "Editor"),
        (StreamView.DESKTOP, None, None, None),
        (StreamView.DESKTOP, "Desktop", None, None),
        (StreamView.DESKTOP, None, "Desktop", None),
        (StreamView.DESKTOP, "Editor", None, "Editor"),
        (StreamView.DESKTOP, "Desktop", "Editor", "Editor"),
    ],
)
async def test_what_is_opened_first(
    pair: Rig, view: StreamView, of_url: str | None, chosen: str | None, kept: str | None
) -> None:
    await pair.apply("cad", stream_view=view)
    session = await pair.services.sessions.open_session(grant(application_id=of_url), chosen)
    assert session.application_id == kept


@pytest.mark.parametrize(
    ("chosen", "error", "text"),
    [
        (None, UrlRefused, "Choose an application first."),
        ("Lost", NotFound, "The application Lost does not exist."),
        ("Hidden", NotFound, "The application Hidden does not exist."),
        ("Desktop", InvalidCombination, "The application Desktop is the whole desktop"),
    ],
)
async def test_what_is_not_offered_is_not_opened(
    pair: Rig, chosen: str | None, error: type[DomainError], text: str
) -> None:
    with pytest.raises(error, match=text):
        await pair.services.sessions.open_session(grant(), chosen)
    assert await pair.services.sessions.find_live(grant()) is None


async def test_what_a_session_allows_is_fixed_when_it_is_made(pair: Rig) -> None:
    session = await pair.services.sessions.open_session(grant(), "Editor")
    assert (session.user_settings, session.time_zone) == (UserSettings(), None)
    change = StackChange(permissions={UserAction.FILE_DOWNLOAD: False})
    await pair.services.stacks.update(HERE, "design", change)
    assert (await pair.services.sessions.open_session(grant(), "Editor")).user_settings == UserSettings()
    later = await pair.services.sessions.open_session(grant(user_id="bob"), "Editor")
    assert UserAction.FILE_DOWNLOAD not in later.user_settings.enabled_actions


async def test_the_browser_is_asked_for_its_time_zone_where_the_stack_redirects_it(pair: Rig) -> None:
    elsewhere = await pair.services.sessions.open_session(grant(user_id="eve"), "Editor", "Europe/Berlin")
    assert elsewhere.time_zone is None
    change = StackChange(permissions={UserAction.AUTO_TIME_ZONE_REDIRECTION: True})
    await pair.services.stacks.update(HERE, "design", change)
    with pytest.raises(UrlRefused) as raised:
        await pair.services.sessions.open_session(grant(), "Editor", None)
    assert raised.value.code == "NO_TIME_ZONE"
    session = await pair.services.sessions.open_session(grant(), "Editor", "Europe/Berlin")
    assert session.time_zone == "Europe/Berlin"
    assert await pair.services.sessions.open_session(grant(), "Editor", None) == session
    unknown = await pair.services.sessions.open_session(grant(user_id="bob"), "Editor", "")
    assert unknown.time_zone is None


async def test_a_grant_opens_nothing_after_its_fleet_stopped_or_in_another_scope(pair: Rig) -> None:
    for scope in ELSEWHERE:
        with pytest.raises(UrlRefused) as raised:
            await pair.services.sessions.open_session(grant(scope=scope), "Editor")
        assert raised.value.code == "NOT_FOUND"
    await pair.services.fleets.stop(HERE, "cad")
    for attempt in (
        pair.services.sessions.open_session(grant(), "Editor"),
        pair.services.sessions.catalog(grant()),
    ):
        with pytest.raises(UrlRefused) as raised:
            await attempt
        assert raised.value.code == "FLEET_NOT_RUNNING"


async def test_the_catalogue_is_what_the_image_offers(pair: Rig) -> None:
    catalog = await pair.services.sessions.catalog(grant())
    assert (catalog.stack.name, catalog.fleet.name, catalog.image.name) == ("design", "cad", "Sample")
    assert [application.name for application in catalog.applications] == ["Editor"]


async def test_a_new_session_waits_until_the_last_one_has_ended(pair: Rig) -> None:
    session = await pair.services.sessions.open_session(grant(), "Editor")
    await pair.services.sessions.request_end(session.session_id, EndReason.USER)
    with pytest.raises(UrlRefused, match="just being closed") as raised:
        await pair.services.sessions.open_session(grant(), "Editor")
    assert raised.value.code == "SESSION_ENDING"
    ending = await pair.services.sessions.find_live(grant())
    assert ending is not None
    await save(pair, ending.after(SessionEvent.ENDED))
    assert (await pair.services.sessions.open_session(grant(), "Editor")).session_id != session.session_id


# ── While it lives ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_connections_are_recorded_when_they_change(pair: Rig) -> None:
    opened = await pair.services.sessions.open_session(grant(), "Editor")
    service, key = pair.services.sessions, opened.session_id
    assert opened.connection_state is ConnectionState.NOT_CONNECTED
    pair.clock.advance(timedelta(seconds=1))
    connected = await service.record_connection(key, is_connected=True)
    assert (connected.connected_since, connected.disconnected_at) == (NOW + timedelta(seconds=1), None)
    pair.clock.advance(timedelta(seconds=10))
    assert await service.record_connection(key, is_connected=True) == connected
    gone = await service.record_connection(key, is_connected=False)
    assert (gone.connected_since, gone.disconnected_at) == (None, NOW + timedelta(seconds=11))
    pair.clock.advance(timedelta(seconds=10))
    assert await service.record_connection(key, is_connected=False) == gone
    back = await service.record_connection(key, is_connected=True)
    assert (back.connected_since, back.disconnected_at) == (NOW + timedelta(seconds=21), None)
    expired = await save(pair, back.after(SessionEvent.ENDED))
    assert await service.record_connection(key, is_connected=False) == expired
    assert pair.woken == [("session", key)] * 4


async def test_the_first_wish_to_end_stays(pair: Rig) -> None:
    opened = await pair.services.sessions.open_session(grant(), "Editor")
    service, key = pair.services.sessions, opened.session_id
    pair.woken.clear()
    wished = await service.request_end(key, EndReason.USER)
    assert wished == replace(opened, version=1, end_requested=EndReason.USER)
    assert await service.request_end(key, EndReason.EXPIRED_BY_ADMINISTRATOR) == wished
    assert pair.woken == [("session", key)]
    ended = await save(pair, wished.after(SessionEvent.ENDED))
    assert await service.request_end(key, EndReason.USER) == ended


async def test_an_unknown_session_is_not_found(pair: Rig) -> None:
    for attempt in (
        pair.services.sessions.find("lost"),
        pair.services.sessions.record_connection("lost", is_connected=True),
        pair.services.sessions.request_end("lost", EndReason.USER),
    ):
        with pytest.raises(NotFound, match=r"^The streaming session lost does not exist\.$"):
            await attempt


async def test_expiring_reaches_the_own_scope_only_and_never_complains(pair: Rig) -> None:
    opened = await pair.services.sessions.open_session(grant(), "Editor")
    for scope in ELSEWHERE:
        await pair.services.sessions.expire(scope, opened.session_id)
    await pair.services.sessions.expire(HERE, "lost")
    assert await pair.services.sessions.find(opened.session_id) == opened
    await pair.services.sessions.expire(HERE, opened.session_id)
    wished = await pair.services.sessions.find(opened.session_id)
    assert wished.end_requested is EndReason.EXPIRED_BY_ADMINISTRATOR
    await pair.services.sessions.expire(HERE, opened.session_id)
    assert await pair.services.sessions.find(opened.session_id) == wished


# ── Describe ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sessions_are_listed_for_one_stack_and_fleet(pair: Rig) -> None:
    made = [await pair.services.sessions.open_session(grant(user_id=user), "Editor") for user in ("ada", "bob", "eve")]
    made = sorted(made, key=lambda session: session.session_id)
    first = await save(pair, replace(made[0].after(SessionEvent.STARTED), instance_id="i-1"))
    describe = pair.services.sessions.describe
    pair_of = {"stack_name": "design", "fleet_name": "cad"}
    assert await describe(HERE, **pair_of) == ((first, *made[1:]), None)
    assert await describe(HERE, **pair_of, user_id=made[1].user_id, authentication_type="API") == ((made[1],), None)
    assert await describe(HERE, **pair_of, instance_id="i-1") == ((first,), None)
    assert await describe(HERE, **pair_of, authentication_type="SAML") == ((), None)
    assert await describe(HERE, stack_name="lost", fleet_name="cad") == ((), None)
    for scope in ELSEWHERE:
        assert await describe(scope, **pair_of) == ((), None)


async def test_pages_of_sessions_follow_each_other(pair: Rig) -> None:
    made = [await pair.services.sessions.open_session(grant(user_id=f"user-{n}"), "Editor") for n in range(21)]
    keys = sorted(session.session_id for session in made)
    describe = pair.services.sessions.describe
    pair_of = {"stack_name": "design", "fleet_name": "cad"}
    first, token = await describe(HERE, **pair_of)
    rest, end = await describe(HERE, **pair_of, next_token=token)
    assert ([session.session_id for session in first], len(rest), end) == (keys[:20], 1, None)
    largest, end = await describe(HERE, **pair_of, limit=50)
    assert ([session.session_id for session in largest], end) == (keys, None)
    with pytest.raises(InvalidPageToken):
        await describe(HERE, **pair_of, authentication_type="SAML", next_token=token)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"limit": 0}, "Limit is 0; it must be between 1 and 50."),
        ({"limit": 51}, "Limit is 51; it must be between 1 and 50."),
        ({"user_id": "ada"}, "UserId needs AuthenticationType: the same id may mean two users. Give both."),
    ],
)
async def test_wrong_questions_are_refused(pair: Rig, wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidCombination) as raised:
        await pair.services.sessions.describe(HERE, stack_name="design", fleet_name="cad", **wrong)
    assert str(raised.value) == text
