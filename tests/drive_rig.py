"""Stand-ins for the providers of drives: OAuth's endpoints as RFC 6749 and RFC 7636 have them, and what is behind (drive_apis).

They stand at their own names, over TLS, behind a proxy: what asks them is told of the proxy and of the authority that
signed for them, and of nothing else. Plain HTTP is for what runs in this process, which trusts no other authority.
"""

import asyncio
import hashlib
import json
import os
import re
import secrets
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import BasicAuth, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from drive_apis import Cloud, google_error, routes_of
from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.storage.drives.providers import Provider, google, microsoft
from fanlight.storage.sessions import DIRECTORY

BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
CLIENT, SECRET = "client-1", "secret-of-the-client"
HOSTS = ("*.google.com", "*.googleapis.com", "*.microsoft.com", "*.microsoftonline.com", "*.sharepoint.com")
_OWN_URLS = ("authorize_url", "token_url", "about_url", "account_url", "drive_url", "revoke_url")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def an_account(address: str = "ada@Example.org") -> dict[str, Any]:
    domain = address.rpartition("@")[2].lower()
    return {"email": address, "email_verified": True, "hd": domain, "userPrincipalName": address}


@dataclass
class StandIn:
    """`account` is who consents. `asked` has the forms that came for tokens. `is_away`: it answers with 503.

    `lifetime_in_seconds` is that of access tokens. `bearers` are those that were shown.
    """

    url: str = ""
    proxy_url: str = ""
    cloud: Cloud = field(default_factory=Cloud)
    account: dict[str, Any] = field(default_factory=an_account)
    asked: list[dict[str, str]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    bearers: set[str] = field(default_factory=set)
    lifetime_in_seconds: int = 3600
    is_away: bool = False
    has_ended: bool = False
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _refresh: set[str] = field(default_factory=set)
    _access: dict[str, float] = field(default_factory=dict)

    @property
    def provider(self) -> Provider:
        return self.as_endpoints_of(google(CLIENT, SECRET))

    @property
    def microsoft(self) -> Provider:
        return self.as_endpoints_of(microsoft(CLIENT, SECRET, "organizations"))

    def as_endpoints_of(self, provider: Provider) -> Provider:
        """Return it with what this process asks in plain; rclone asks as ever, through the proxy."""
        there = {name: url for name in _OWN_URLS if (url := getattr(provider, name)) is not None}
        plain: dict[str, Any] = {name: re.sub(r"^https://[^/]+", self.url, url) for name, url in there.items()}
        return replace(provider, proxy_url=self.proxy_url, **plain)

    def consent(self, url: str) -> dict[str, str]:
        """Return what the browser brings back of the page at `url`."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        return {"state": query["state"], "code": self._new_code(query)}

    def end_access(self) -> None:
        """Access tokens that are out serve no more; refresh tokens do."""
        self._access.clear()

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        back = urlencode({"state": query["state"], "code": self._new_code(query)})
        raise web.HTTPFound(f"{query['redirect_uri']}?{back}")

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if (leave := request.headers.get("Authorization")) is not None:
            basic = BasicAuth.decode(leave)
            form |= {"client_id": basic.login, "client_secret": basic.password}
        self.asked.append(form)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        if not (self._redeems_code(form) if form["grant_type"] == "authorization_code" else self._renews(form)):
            return web.json_response({"error": "invalid_grant"}, status=400)
        self._refresh.add(refresh := f"refresh-{secrets.token_hex(8)}")
        self._access[access := f"access-{secrets.token_hex(8)}"] = time.monotonic() + self.lifetime_in_seconds
        said = {"access_token": access, "refresh_token": refresh, "id_token": id_token({"aud": CLIENT} | self.account)}
        return web.json_response(said | {"expires_in": self.lifetime_in_seconds, "token_type": "Bearer"})

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        token = str((await request.post())["token"])
        self.revoked.append(token)
        if token not in self._refresh:
            return web.json_response({"error": "invalid_token"}, status=400)
        self._refresh.remove(token)
        self.end_access()
        return web.Response()

    async def who(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.account)

    def guard(self) -> Any:
        @web.middleware
        async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
            if self.is_away:
                return web.Response(status=503, text="later")
            if request.path.startswith(("/drive/", "/upload/drive/", "/v1.0/")):
                bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
                self.bearers.add(bearer)
                if self.has_ended or self._access.get(bearer, 0.0) < time.monotonic():
                    return google_error(401, "authError")
            return await handler(request)

        return check

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
async def standing_in(directory: Path, proxy_port: int = 0) -> AsyncIterator[StandIn]:
    """`directory` gets `authorities.pem`, which is to be trusted."""
    directory.mkdir(parents=True, exist_ok=True)
    there = StandIn()
    app = web.Application(middlewares=[there.guard()], client_max_size=2**30)
    for path in ("/o/oauth2/v2/auth", "/organizations/oauth2/v2.0/authorize"):
        app.router.add_get(path, there.authorize)
    for path in ("/token", "/organizations/oauth2/v2.0/token"):
        app.router.add_post(path, there.token)
    app.router.add_post("/revoke", there.revoke)
    app.router.add_get("/v1.0/me", there.who)
    app.router.add_routes(routes_of(there.cloud))
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        for context in (None, certified(directory)):
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        plain, tls = (address[1] for address in runner.addresses)
        there.url = f"http://127.0.0.1:{plain}"
        tunnels: set[asyncio.Task[None]] = set()

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if (own := asyncio.current_task()) is not None:
                tunnels.add(own)
                own.add_done_callback(tunnels.discard)
            await _tunnel(reader, writer, tls, plain)

        async def end_tunnels() -> None:
            for one in tunnels:
                one.cancel()
            await asyncio.gather(*tunnels, return_exceptions=True)

        proxy = await asyncio.start_server(tunnel, "127.0.0.1", proxy_port)
        stack.push_async_callback(end_tunnels)
        stack.callback(proxy.close)
        there.proxy_url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        yield there


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: int, plain: int) -> None:
    """Whatever name is asked for, it is ours. Requests in plain are passed on as they are."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        is_tunnel = head.startswith(b"CONNECT ")
        back, out = await asyncio.open_connection("127.0.0.1", tls if is_tunnel else plain)
        if is_tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            out.write(head)
        await asyncio.gather(_pump(reader, out), _pump(back, writer), return_exceptions=True)
    except (OSError, asyncio.IncompleteReadError):
        return  # whoever asked, or who answers, is gone
    finally:
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(64 * 1024):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


def prepare_certificates(directory: Path) -> Path:
    """Make them unless they are there; return the file of all authorities that are to be trusted, the system's too."""
    directory.mkdir(parents=True, exist_ok=True)
    authorities = directory / "authorities.pem"
    if not authorities.exists():
        _make_certificate(directory / "own.pem", authorities)
        system = ssl.get_default_verify_paths().cafile
        if system is not None:
            authorities.write_bytes(authorities.read_bytes() + Path(system).read_bytes())
    return authorities


def certified(directory: Path) -> ssl.SSLContext:
    """Return what serves HOSTS; what is in `directory` is used."""
    prepare_certificates(directory)
    own = directory / "own.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return context


def _make_certificate(own: Path, authorities: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Stand-ins of drives")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    authorities.write_bytes(pem)
    plain = serialization.NoEncryption()
    own.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain) + pem)


def id_token(claims: dict[str, Any]) -> str:
    return ".".join(["e30", urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode(), "signature"])


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
