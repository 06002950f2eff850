"""The cookie says who the browser is; nobody but the gateway can write one."""

import json
import random
import stat
import string
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fanlight.control.bodies import grant_to_wire
from fanlight.controlwire.messages import Grant
from fanlight.domain.places import Scope
from fanlight.domain.streaming_sessions import StreamingGrant
from fanlight.gateway.cookies import (
    COOKIE_LIFETIME_IN_SECONDS,
    FIRST_START_GRACE_IN_SECONDS,
    Seals,
    SealTooLarge,
    SignedIn,
    read_or_create_key,
)
from fanlight.services.streaming_urls import StreamingUrls
from gateway_rig import a_grant

NOW = 1_795_000_000.0


def seals_at(now: float = NOW, key: bytes = b"k" * 32) -> Seals:
    return Seals(key, lambda: now)


def identity_of(grant: Grant) -> SignedIn:
    return SignedIn(grant=grant, opened_at=NOW)


def test_a_sealed_identity_opens_as_it_was() -> None:
    seals, identity = seals_at(), identity_of(a_grant(session_context="ünïcode & more"))

    assert seals.open(seals.ref(identity.grant), seals.seal(identity)) == identity


def test_a_cookie_altered_in_any_character_is_refused() -> None:
    seals, identity = seals_at(), identity_of(a_grant())
    ref, sealed = seals.ref(identity.grant), seals.seal(identity)

    altered = [sealed[:i] + ("A" if c != "A" else "B") + sealed[i + 1 :] for i, c in enumerate(sealed)]

    assert [value for value in altered if seals.open(ref, value) is not None] == []


@pytest.mark.parametrize("junk", ["", ".", "a.b", "é.é", "AAAA", "." * 100, "=.=", "A" * 4000, "\x00.\x00"])
def test_junk_is_no_cookie(junk: str) -> None:
    assert seals_at().open("ref", junk) is None
    assert seals_at().session_id("ref", junk) is None


def test_a_cookie_of_another_key_is_refused() -> None:
    identity = identity_of(a_grant())
    ref = seals_at().ref(identity.grant)

    assert seals_at().open(ref, seals_at(key=b"x" * 32).seal(identity)) is None


@pytest.mark.parametrize("field", ["account_id", "region", "user_id", "stack_name", "fleet_name"])
def test_a_cookie_is_good_for_its_own_identity_only(field: str) -> None:
    seals, identity = seals_at(), identity_of(a_grant())
    other = replace(identity.grant, **{field: "other"})

    assert seals.ref(other) != seals.ref(identity.grant)
    assert seals.open(seals.ref(other), seals.seal(identity)) is None


def test_the_name_of_an_identity_stays_when_a_new_link_is_opened() -> None:
    seals = seals_at()

    assert seals.ref(a_grant(expires_at=1.0)) == seals.ref(a_grant(expires_at=2.0, application_id="editor"))


def test_an_old_cookie_is_refused() -> None:
    identity = identity_of(a_grant())
    ref, sealed = seals_at().ref(identity.grant), seals_at().seal(identity)

    assert seals_at(NOW + COOKIE_LIFETIME_IN_SECONDS - 1).open(ref, sealed) == identity
    assert seals_at(NOW + COOKIE_LIFETIME_IN_SECONDS).open(ref, sealed) is None


def test_a_session_handle_is_good_for_its_own_identity_only() -> None:
    seals = seals_at()
    handle = seals.handle("ada", "session-1")

    assert seals.session_id("ada", handle) == "session-1"
    assert seals.session_id("bob", handle) is None
    assert seals.session_id("ada", handle[:-1] + ("A" if handle[-1] != "A" else "B")) is None


def test_a_handle_is_no_cookie_and_a_cookie_no_handle() -> None:
    seals, identity = seals_at(), identity_of(a_grant())
    ref = seals.ref(identity.grant)

    assert seals.session_id(ref, seals.seal(identity)) is None
    assert seals.open(ref, seals.handle(ref, json.dumps({"grant": {}}))) is None


@pytest.mark.parametrize(
    ("expires_in", "after", "has_started", "may_start"),
    [
        (60.0, 30.0, False, True),
        (60.0, 30.0, True, True),  # the link is still valid: start again
        (60.0, 90.0, False, True),  # the catalogue took longer to read than the link lived
        (60.0, 90.0, True, False),
        (60.0, FIRST_START_GRACE_IN_SECONDS, False, False),
        (7 * 86_400.0, 0.0, True, True),
        # The clock went back
        (60.0, -600.0, False, True),
        (60.0, -30 * 86_400.0, False, False),
    ],
)
def test_when_a_session_may_be_started(expires_in: float, after: float, has_started: bool, may_start: bool) -> None:  # noqa: FBT001
    grant = a_grant(expires_at=NOW + expires_in)
    identity = SignedIn(grant=grant, opened_at=NOW, has_started=has_started)

    assert identity.may_start(NOW + after) is may_start


def test_a_session_context_that_no_cookie_can_hold_is_said_so() -> None:
    context = random.Random(1).randbytes(6000).hex()  # a seed, so that it compresses equally badly every time

    with pytest.raises(SealTooLarge):
        seals_at().seal(identity_of(a_grant(session_context=context)))


def test_the_key_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "cookie.key"

    key = read_or_create_key(path)

    assert len(key) == 32
    assert read_or_create_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_key_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "cookie.key").write_bytes(b"short")

    with pytest.raises(ValueError, match=r"cookie\.key is damaged"):
        read_or_create_key(tmp_path / "cookie.key")


def test_a_real_clock_seals_too() -> None:
    seals = Seals(b"k" * 32, time.time)
    identity = SignedIn(grant=a_grant(), opened_at=time.time())

    assert seals.open(seals.ref(identity.grant), seals.seal(identity)) == identity


@pytest.mark.parametrize("letters", [string.ascii_letters + string.digits, "".join(map(chr, range(0x4E00, 0x9000)))])
def test_whatever_a_link_may_say_fits_into_a_cookie(letters: str) -> None:
    """The worst case: random text, which nothing compresses, as long as a link with it is made."""
    chance = random.Random(7)
    urls = StreamingUrls(b"k" * 32, lambda: "https://apps.example.org")
    longest = 0
    for length in range(100, 4000, 100):
        grant = StreamingGrant(
            scope=Scope("123456789012", "ap-southeast-2"),
            stack_name="".join(chance.choices(string.ascii_letters, k=101)),
            fleet_name="".join(chance.choices(string.ascii_letters, k=101)),
            user_id="".join(chance.choices(string.ascii_letters, k=32)),
            application_id="".join(chance.choices(string.ascii_letters, k=100)),
            session_context="".join(chance.choices(letters, k=length)),
            expires_at=datetime.fromtimestamp(NOW, UTC),
        )
        if urls.issue(grant, timedelta(days=5)) is not None:
            longest = length
            seals_at().seal(identity_of(grant_to_wire(grant)).started())
    assert 300 <= longest < 3900
