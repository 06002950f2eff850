"""Access tokens of users' drives: renewed here alone, and handed to rclone over the loopback interface.

rclone asks as it would ask a provider (RFC 6749, 6). What it holds instead of a refresh token is a word of ours that is
worth nothing elsewhere and nothing once its door is closed: it knows neither the grant nor the client's secret, and
whatever becomes of it, the newest refresh token is on disk.
"""

import asyncio
import hmac
import json
import logging
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from weakref import WeakValueDictionary

from aiohttp import web

from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.drives.grants import Grants
from fanlight.storage.drives.oauth import GrantEnded, ProviderAway, refreshed
from fanlight.storage.drives.providers import Grant, Provider

log = logging.getLogger(__name__)

# So long before its end an access token is renewed: whoever is given it has time to use it.
_SPARE_IN_SECONDS = 60.0
# What an access token that has run out looks like: rclone fetches a fresh one by itself.
_LONG_AGO = "2001-01-01T00:00:00Z"
_PATH = "/token"
_Place = tuple[str, str, StorageKind]  # of a grant: bucket, prefix, kind


@dataclass(frozen=True, slots=True)
class _Access:
    grant_id: str
    token: str = field(repr=False)
    ends_at: float

    @property
    def remaining_in_seconds(self) -> float:
        return self.ends_at - time.monotonic()


@dataclass(frozen=True, slots=True)
class _Admitted:
    """`on_end` is called when the provider ended the grant."""

    door: StorageDoor
    grant: Grant
    on_end: Callable[[], None]


class Accesses:
    """One access token for each grant, whoever asks for it: the sessions' rclones and ourselves."""

    def __init__(self, grants: Grants, providers: Mapping[StorageKind, Provider]) -> None:
        self._grants, self._providers = grants, providers
        self._there: dict[_Place, _Access] = {}
        self._turns: WeakValueDictionary[_Place, asyncio.Lock] = WeakValueDictionary()
        self._admitted: dict[str, _Admitted] = {}  # by word
        self._url: str | None = None
        self._runner: web.AppRunner | None = None

    async def of(self, door: StorageDoor, grant: Grant) -> str:
        """Return an access token that is good for a while. Raises ProviderAway, GrantEnded, OSError."""
        return (await self._access(door, grant)).token

    def forget(self, door: StorageDoor) -> None:
        """The provider does not take the access token that there is."""
        self._there.pop(_place_of(door), None)

    async def admit(self, door: StorageDoor, grant: Grant, on_end: Callable[[], None]) -> tuple[str, Mapping[str, str]]:
        """Return a word for `dismiss`, and the options of rclone's backend with which it has access until then. Raises OSError."""
        url = await self._listen()
        word = secrets.token_urlsafe(32)
        self._admitted[word] = _Admitted(door, grant, on_end)
        token = {"access_token": "-", "token_type": "Bearer", "refresh_token": word, "expiry": _LONG_AGO}
        return word, {"client_id": "-", "client_secret": "-", "token_url": url, "token": json.dumps(token)}

    def dismiss(self, word: str) -> None:
        self._admitted.pop(word, None)

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = self._url = None

    async def _access(self, door: StorageDoor, grant: Grant) -> _Access:
        place = _place_of(door)
        # One after the other: a provider may take a refresh token once only, and all sessions of a user have the same.
        async with self._turns.setdefault(place, asyncio.Lock()):
            there = self._there.get(place)
            if (
                there is not None
                and there.grant_id == grant.grant_id
                and there.remaining_in_seconds > _SPARE_IN_SECONDS
            ):
                return there
            grant = self._unchanged(door, grant)
            tokens = await refreshed(self._providers[door.kind], grant)
            self._unchanged(door, grant)
            if tokens.refresh_token not in (None, grant.refresh_token):
                self._grants.write(door, replace(grant, refresh_token=str(tokens.refresh_token)))
            # One whose end the provider does not name is taken for one that serves just now.
            there = _Access(grant.grant_id, tokens.access_token, time.monotonic() + tokens.lifetime_in_seconds)
            self._there[place] = there
            return there

    def _unchanged(self, door: StorageDoor, grant: Grant) -> Grant:
        """Return it as it is on disk now. Raises ProviderAway when its user has meanwhile taken it back, or given another."""
        there = self._grants.read(door)
        if there is None or there.grant_id != grant.grant_id:
            raise ProviderAway("the drive was connected anew or disconnected meanwhile")
        return there

    async def _listen(self) -> str:
        if self._url is None:
            app = web.Application(client_max_size=16 * 1024)
            app.router.add_post(_PATH, self._answer)
            listener = socket.create_server(("127.0.0.1", 0))  # rclone asks for tokens over TCP only
            self._url = f"http://127.0.0.1:{listener.getsockname()[1]}{_PATH}"
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
            await self._runner.setup()
            await web.SockSite(self._runner, listener).start()
        return self._url

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        word = str((await request.post()).get("refresh_token", ""))
        asking = next((one for known, one in self._admitted.items() if _are_same(known, word)), None)
        if asking is None:
            return _refusal("invalid_grant", HTTPStatus.BAD_REQUEST)
        try:
            access = await self._access(asking.door, asking.grant)
        except GrantEnded:
            asking.on_end()
            return _refusal("invalid_grant", HTTPStatus.BAD_REQUEST)
        except (ProviderAway, OSError) as error:
            log.info("no access to a drive", extra={"kind": asking.door.kind, "why": str(error)})
            return _refusal("temporarily_unavailable", HTTPStatus.SERVICE_UNAVAILABLE)
        said = {"access_token": access.token, "token_type": "Bearer", "refresh_token": word}
        return web.json_response(said | {"expires_in": max(int(access.remaining_in_seconds), 1)})


def _place_of(door: StorageDoor) -> _Place:
    return door.bucket, door.prefix, door.kind


def _are_same(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode(), given.encode())


def _refusal(error: str, status: HTTPStatus) -> web.Response:
    return web.json_response({"error": error}, status=status)
