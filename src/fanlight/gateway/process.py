"""The gateway as a process: listen, serve until told to stop, close in order."""

import asyncio
import logging
import resource
import signal
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from fanlight.background import end
from fanlight.config import Settings
from fanlight.controlwire import CONTROL_SOCKET_NAME
from fanlight.forwarding import networks
from fanlight.gateway.app import make_app
from fanlight.gateway.client_files import ENTRY_POINT, ClientFiles
from fanlight.gateway.context import Gateway
from fanlight.gateway.control_client import ControlClient
from fanlight.gateway.cookies import Seals, read_or_create_key
from fanlight.gateway.door import MAX_CONNECTIONS, Addresses, Door
from fanlight.gateway.home_client import HomeFolders
from fanlight.gateway.origins import Origins
from fanlight.gateway.portal_files import PortalFiles
from fanlight.gateway.streams import Streams

log = logging.getLogger(__name__)

# Long streaming URLs carry a session context; what is longer still is no link of ours.
MAX_REQUEST_LINE_IN_BYTES = 16 * 1024
# Behind https a browser sends the cookies of all its identities at once; of ours there are at most 40 KiB.
MAX_HEADER_FIELD_IN_BYTES = 64 * 1024
TLS_HANDSHAKE_IN_SECONDS = 10.0
OPEN_FILES = 2 * MAX_CONNECTIONS + 1024  # A stream has two sockets; many systems allow 1,024 files unless asked.
KEEPALIVE_IN_SECONDS = 75.0
SHUTDOWN_IN_SECONDS = 3.0


async def run_gateway(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until `stop` when that is given: then signals are the caller's business.

    Raises OSError when it cannot listen or read its key, ValueError for unusable settings.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _allow_open_files()
    gateway = make_gateway(settings)
    watcher = asyncio.create_task(gateway.streams.run())
    warm_up = asyncio.create_task(asyncio.to_thread(_warm_up, gateway.client_files))
    runner = make_runner(gateway)
    try:
        await runner.setup()
        async with _listening(gateway, runner):
            log.info("gateway serves", extra={"portal": settings.portal_url})
            await stop.wait()
            log.info("gateway stops")
        gateway.stopping.set()  # long polls answer now, so that the pages say that they reconnect
    finally:
        await end(watcher)
        await gateway.streams.close()
        await _close_connections(runner)
        await warm_up
        await gateway.home.close()
        await gateway.control.close()


async def _close_connections(runner: web.AppRunner) -> None:
    """End all requests in good time, then let go of browsers that do not answer the end of TLS: they may take half a
    minute for it, and the loop cannot be closed before.
    """
    open_ones = [handler.transport for handler in runner.server.connections] if runner.server else []
    await runner.cleanup()
    for transport in open_ones:
        if transport is not None:
            transport.abort()
    await asyncio.sleep(0.05)


@asynccontextmanager
async def _listening(gateway: Gateway, runner: web.AppRunner) -> AsyncIterator[None]:
    """Raises OSError when it cannot listen."""
    settings, http, tls = gateway.settings, runner.server, _tls(gateway.settings)
    if http is None:
        raise RuntimeError("the runner is not set up")
    addresses = Addresses(settings.max_connections_per_address, networks(settings.trusted_proxies))
    door = Door(http, lambda: len(http.connections) + gateway.streams.open_count, addresses)
    server = await asyncio.get_running_loop().create_server(
        door,
        settings.host,
        settings.portal_port,
        ssl=tls,
        ssl_handshake_timeout=TLS_HANDSHAKE_IN_SECONDS if tls else None,
        reuse_address=True,
        backlog=512,
    )
    try:
        yield
    finally:
        server.close()
        door.close()


def make_gateway(settings: Settings) -> Gateway:
    """Must be called inside the event loop."""
    own = settings.data_dir / "gateway"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    control = ControlClient(settings.effective_run_dir / CONTROL_SOCKET_NAME)
    return Gateway(
        settings=settings,
        seals=Seals(read_or_create_key(own / "cookie.key"), time.time),
        control=control,
        streams=Streams(control),
        origins=Origins.of(settings),
        portal=PortalFiles(),
        client_files=ClientFiles(settings.data_dir),
        home=HomeFolders(settings.effective_run_dir, control),
        endpoints={endpoint: networks(own) for endpoint, own in settings.endpoint_networks.items()},
    )


def make_runner(gateway: Gateway) -> web.AppRunner:
    return web.AppRunner(
        make_app(gateway),
        handle_signals=False,
        access_log=None,  # it would log query strings, and those hold tokens
        logger=_quiet_http_logger(),
        max_line_size=MAX_REQUEST_LINE_IN_BYTES,
        max_field_size=MAX_HEADER_FIELD_IN_BYTES,
        keepalive_timeout=KEEPALIVE_IN_SECONDS,
        shutdown_timeout=SHUTDOWN_IN_SECONDS,
        auto_decompress=False,  # an upload passes as it is; a compressed JSON body of ours does not exist
    )


class _WithoutRequests(logging.Filter):
    """Malformed requests are everyday and may hold tokens: neither the traceback nor the bytes go into the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        record.exc_text = None
        record.msg = str(record.msg).partition(" from ")[0]
        record.args = None
        return True


def _quiet_http_logger() -> logging.Logger:
    http = logging.getLogger("fanlight.gateway.http")
    if not http.filters:
        http.addFilter(_WithoutRequests())
    return http


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _warm_up(files: ClientFiles) -> None:
    """Compress the stream client before the first user waits for it."""
    if base := files.base():
        version = base.split("/")[2]
        files.client_file(version, ENTRY_POINT)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    context.set_alpn_protocols(["http/1.1"])
    return context
