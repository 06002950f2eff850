"""The gateway's own cookie: who this browser is, sealed with a key that no other process has.

One cookie for each identity (account, region, user, stack, fleet), named by `ref`, so that two identities live in one
browser side by side. The name never decides anything: the sealed identity must give the same `ref`.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fanlight.controlwire.messages import Grant

KEY_SIZE_IN_BYTES = 32
# A session lives at most five days; the cookie must outlive it, or a reload near the end would lose the session.
COOKIE_LIFETIME_IN_SECONDS = 5 * 86_400 + 3_600
# Short URLs (60 s is the default) must leave time to read the catalogue: the first session may be started this long
# after the URL was opened, even when the URL itself has expired meanwhile.
FIRST_START_GRACE_IN_SECONDS = 900.0
LONGEST_LINK_IN_SECONDS = 7 * 86_400.0 + FIRST_START_GRACE_IN_SECONDS
_MAX_SEALED_LENGTH = 3_800  # Browsers drop cookies above 4,096 bytes.
_MAX_PAYLOAD = 65_536


class SealTooLarge(Exception):
    """The identity does not fit into a cookie (an over-long session context)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What the cookie says. `opened_at` is when the streaming URL was opened, epoch seconds.

    `is_embedded`: it was opened inside another site's page, so the cookie must be one that browsers send there.
    """

    grant: Grant
    opened_at: float
    has_started: bool = False
    is_embedded: bool = False

    def may_start(self, now: float) -> bool:
        """Return whether a new session may be made; rejoining a live one is always allowed.

        Neither a link that lasts longer than any nor one that was opened in the future counts: a clock that has been
        set back since made it so.
        """
        first_start = not self.has_started and abs(now - self.opened_at) < FIRST_START_GRACE_IN_SECONDS
        return now < self.grant.expires_at <= now + LONGEST_LINK_IN_SECONDS or first_start

    def started(self) -> "SignedIn":
        return replace(self, has_started=True)


def read_or_create_key(path: Path) -> bytes:
    """Return the key; make it, readable by this user alone, when there is none. Raises OSError, ValueError if it is short."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        key = path.read_bytes()
    else:
        key = secrets.token_bytes(KEY_SIZE_IN_BYTES)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
    if len(key) < KEY_SIZE_IN_BYTES:
        raise ValueError(
            f"{path} is damaged: delete it and start again (everybody must open their streaming URL anew)."
        )
    return key


@dataclass(slots=True)
class Seals:
    """Seals and opens cookies and session handles. `now` gives epoch seconds."""

    key: bytes
    now: Callable[[], float]

    def ref(self, grant: Grant) -> str:
        """Return the short stable name of an identity; says nothing about it to who has no key."""
        identity = (grant.account_id, grant.region, grant.user_id, grant.stack_name, grant.fleet_name)
        digest = self._mac("ref", json.dumps(identity).encode())
        return base64.b32encode(digest[:10]).decode().lower()

    def seal(self, signed_in: SignedIn) -> str:
        """Return the cookie's value. Raises SealTooLarge."""
        body = zlib.compress(json.dumps(asdict(signed_in), separators=(",", ":")).encode(), 9)
        sealed = f"{_text(body)}.{_text(self._mac('cookie', body))}"
        if len(sealed) > _MAX_SEALED_LENGTH:
            raise SealTooLarge
        return sealed

    def open(self, ref: str, sealed: str) -> SignedIn | None:
        """Return who this is, or None when the value is altered, too old, or another identity's."""
        body = self._verified("cookie", sealed)
        if body is None:
            return None
        fields = json.loads(_inflate(body))
        signed_in = SignedIn(
            grant=Grant(**fields["grant"]),
            opened_at=fields["opened_at"],
            has_started=fields["has_started"],
            is_embedded=fields.get("is_embedded", False),
        )
        is_fresh = self.now() < signed_in.opened_at + COOKIE_LIFETIME_IN_SECONDS
        is_same = hmac.compare_digest(self.ref(signed_in.grant), ref)
        return signed_in if is_fresh and is_same else None

    def handle(self, ref: str, session_id: str) -> str:
        """Return the name under which the page speaks of a session: usable with this identity only."""
        body = session_id.encode()
        return f"{_text(body)}.{_text(self._mac(f'session:{ref}', body)[:16])}"

    def session_id(self, ref: str, handle: str) -> str | None:
        """Return the session that a handle names, or None when it was not made for this identity."""
        body = self._verified(f"session:{ref}", handle, mac_length=16)
        return body.decode() if body is not None else None

    def _verified(self, purpose: str, sealed: str, *, mac_length: int = 32) -> bytes | None:
        encoded_body, _, encoded_mac = sealed.partition(".")
        try:
            body, mac = _bytes(encoded_body), _bytes(encoded_mac)
        except (ValueError, binascii.Error):
            return None
        return body if hmac.compare_digest(mac, self._mac(purpose, body)[:mac_length]) else None

    def _mac(self, purpose: str, body: bytes) -> bytes:
        return hmac.digest(self.key, purpose.encode() + b"\0" + body, hashlib.sha256)


def _inflate(body: bytes) -> bytes:
    return zlib.decompressobj().decompress(body, _MAX_PAYLOAD)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(value: str) -> bytes:
    decoded = base64.b64decode(value.encode("ascii") + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
    if _text(decoded) != value:
        raise ValueError("not canonical: spare bits are set")  # or one value would have several spellings
    return decoded
