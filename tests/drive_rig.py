"""A stand-in for a provider of drives: OAuth's endpoints as RFC 6749 and RFC 7636 have them. Behind the drive is a directory."""

import hashlib
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import BasicAuth, web

from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.drives.providers import Provider, google
from fanlight.storage.sessions import DIRECTORY

BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
CLIENT, SECRET = "client-1", "secret-of-the-client"


@dataclass
class StandIn:
    """`account` is who consents. `asked` has the forms that came for tokens. `is_away`: it answers with 503."""

    folder: Path
    url: str = ""
    account: dict[str, Any] = field(default_factory=lambda: {"email": "ada@Example.org", "email_verified": True})
    asked: list[dict[str, str]] = field(default_factory=list)
    is_away: bool = False
    has_ended: bool = False
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _refresh: set[str] = field(default_factory=set)

    @property
    def provider(self) -> Provider:
        base = google(CLIENT, SECRET)
        return replace(self.as_endpoints_of(base), backend=lambda _: {"type": "alias", "remote": str(self.folder)})

    def as_endpoints_of(self, provider: Provider) -> Provider:
        return replace(
            provider,
            authorize_url=f"{self.url}/authorize",
            token_url=f"{self.url}/token",
            account_url=f"{self.url}/account",
        )

    def consent(self, url: str) -> dict[str, str]:
        """Return what the browser brings back of the page at `url`."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        return {"state": query["state"], "code": self._new_code(query)}

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        back = urlencode({"state": query["state"], "code": self._new_code(query)})
        raise web.HTTPFound(f"{query['redirect_uri']}?{back}")

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if (leave := request.headers.get("Authorization")) is not None:  # rclone's own way
            basic = BasicAuth.decode(leave)
            form |= {"client_id": basic.login, "client_secret": basic.password}
        self.asked.append(form)
        if self.is_away:
            return web.Response(status=503, text="later")
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        if not (self._redeems_code(form) if form["grant_type"] == "authorization_code" else self._renews(form)):
            return web.json_response({"error": "invalid_grant"}, status=400)
        self._refresh.add(refresh := secrets.token_hex(8))
        return web.json_response(
            {"access_token": "access", "refresh_token": refresh, "expires_in": 3600, "token_type": "Bearer"}
        )

    async def who(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer access"
        return web.json_response(self.account)

    def _new_code(self, query: dict[str, str]) -> str:
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT)
        assert query["code_challenge_method"] == "S256"
        self._codes[code := secrets.token_hex(8)] = query
        return code

    def _redeems_code(self, form: dict[str, str]) -> bool:
        query = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        return query is not None and (query["code_challenge"], query["redirect_uri"]) == (
            challenge,
            form["redirect_uri"],
        )

    def _renews(self, form: dict[str, str]) -> bool:
        """Each refresh token serves once, as at Microsoft."""
        if self.has_ended or form["refresh_token"] not in self._refresh:
            return False
        self._refresh.remove(form["refresh_token"])
        return True


@asynccontextmanager
async def standing_in(folder: Path) -> AsyncIterator[StandIn]:
    there = StandIn(folder)
    app = web.Application()
    app.router.add_get("/authorize", there.authorize)
    app.router.add_post("/token", there.token)
    app.router.add_get("/account", there.who)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield there
    finally:
        await runner.cleanup()


def a_drive(
    run_dir: Path, session_id: str = "session-1", *, user: str = "ada", kind: StorageKind = StorageKind.GOOGLE_DRIVE
) -> StorageDoor:
    (run_dir / "instances" / session_id / "host" / DIRECTORY).mkdir(parents=True, exist_ok=True)
    return StorageDoor(
        session_id=session_id,
        kind=kind,
        instance_id=session_id,
        first_uid=os.getuid(),
        token="a-token-of-some-length",
        bucket=BUCKET,
        prefix=f"user/custom/{user}/",
        domains=("example.org",),
    )
