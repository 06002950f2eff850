"""What the gateway costs a stream: delay and throughput through it beside a direct connection, in one run.

The gateway and the instance's side are processes of their own; the browser's side is here. Run it as a script for the
table, or call `measure`.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from gateway_rig import SteerableControl, a_grant, serving_control, settings_for, sign_in

ROUND_TRIPS = 4_000
WARM_UP = 300
MESSAGE = b"k" * 64  # a key, a pointer move, an acknowledgement
FLOOD_IN_BYTES = 4 * 1024**3
_PIECE = 1 << 20
_FLOOD, _ECHO = b"F", b"E"
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_T = TypeVar("_T")
_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True, slots=True)
class GatewayFigures:
    """Delays are round trips in milliseconds; rates in Gbit/s. `per_core` counts the gateway's own processor time."""

    direct_p50: float
    direct_p99: float
    relayed_p50: float
    relayed_p99: float
    direct_rate: float
    relayed_rate: float
    relayed_rate_per_core: float

    @property
    def added_p50(self) -> float:
        return self.relayed_p50 - self.direct_p50

    @property
    def added_p99(self) -> float:
        return self.relayed_p99 - self.direct_p99


def measure() -> GatewayFigures:
    """Run both ways, interleaved, so that a busy machine is busy for both."""
    directory = Path(tempfile.mkdtemp(prefix="fl-bench-"))
    try:
        with _child("guest", str(directory / "stream.sock")), _control(directory) as (cookie, port, path, gateway_pid):
            _wait_for(directory / "stream.sock")
            return _compare(directory / "stream.sock", port, path, cookie, gateway_pid)
    finally:
        shutil.rmtree(directory)


def _wait_for(guest: Path) -> None:
    """Return when the instance's side listens; it may start more slowly than the gateway."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(guest))
            return
        time.sleep(0.02)
    raise TimeoutError("the instance's side does not listen")


def _compare(guest: Path, port: int, path: str, cookie: str, gateway_pid: int) -> GatewayFigures:
    def direct() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(guest))
        return _upgraded(connection, "/api/websockets", "x", "")

    def relayed() -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _upgraded(connection, path, f"127.0.0.1:{port}", cookie)

    delays: dict[str, list[float]] = {"direct": [], "relayed": []}
    with direct() as one, relayed() as other:
        for connection in (one, other):
            connection.sendall(_ECHO)
            _round_trips(connection, WARM_UP)
        for _ in range(20):
            delays["direct"] += _round_trips(one, ROUND_TRIPS // 20)
            delays["relayed"] += _round_trips(other, ROUND_TRIPS // 20)
    with direct() as connection:
        direct_rate = _flood(connection)
    time.sleep(0.6)  # the gateway keeps sockets of one session half a second apart
    with relayed() as connection:
        before = _processor_seconds(gateway_pid)
        relayed_rate = _flood(connection)
        used = _processor_seconds(gateway_pid) - before
    return GatewayFigures(
        direct_p50=statistics.median(delays["direct"]),
        direct_p99=_percentile(delays["direct"], 99),
        relayed_p50=statistics.median(delays["relayed"]),
        relayed_p99=_percentile(delays["relayed"], 99),
        direct_rate=direct_rate,
        relayed_rate=relayed_rate,
        relayed_rate_per_core=FLOOD_IN_BYTES * 8 / 1e9 / max(used, 1e-6),
    )


def _round_trips(connection: socket.socket, count: int) -> list[float]:
    delays = []
    for _ in range(count):
        started = time.perf_counter()
        connection.sendall(MESSAGE)
        left = len(MESSAGE)
        while left:
            left -= len(connection.recv(left))
        delays.append((time.perf_counter() - started) * 1000)
    return delays


def _flood(connection: socket.socket) -> float:
    """Take `FLOOD_IN_BYTES` from the instance; return the rate in Gbit/s."""
    buffer = bytearray(_PIECE)
    connection.sendall(_FLOOD)
    received, started = 0, time.perf_counter()
    while received < FLOOD_IN_BYTES:
        got = connection.recv_into(buffer)
        if not got:
            raise ConnectionError("the stream ended early")
        received += got
    return received * 8 / 1e9 / (time.perf_counter() - started)


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _upgraded(connection: socket.socket, path: str, host: str, cookie: str) -> socket.socket:
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {cookie}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError("no answer to the upgrade")
        head += byte
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise ConnectionError(head.decode("latin-1"))
    return connection


@contextlib.contextmanager
def _control(directory: Path) -> Iterator[tuple[str, int, str, int]]:
    """Run a control plane and a gateway; yield (cookie, port, path of the stream, pid of the gateway)."""
    settings = settings_for(directory)
    control = SteerableControl(stream_socket=str(directory / "stream.sock"), grants={"ada": a_grant()})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def here(coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    serving = serving_control(control, settings.effective_run_dir)
    here(serving.__aenter__())
    try:
        with _child("gateway", str(directory), str(settings.portal_port)) as pid:
            cookie, path = here(_signed_in(f"http://127.0.0.1:{settings.portal_port}"))
            yield cookie, settings.portal_port, path, pid
    finally:
        here(serving.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _signed_in(url: str) -> tuple[str, str]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        for _ in range(200):
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/healthz"):
                    break
            await asyncio.sleep(0.05)
        page = await sign_in(http, url, "ada")
        headers = {"X-Fanlight-Page": "1", "Origin": url}
        async with http.post(f"{page}api/open", json={"applicationId": "editor"}, headers=headers) as answer:
            answer.raise_for_status()
        cookie = "; ".join(f"{c.key}={c.value}" for c in http.cookie_jar)
    return cookie, page.removeprefix(url) + "stream/api/websockets"


@contextlib.contextmanager
def _child(role: str, *arguments: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, __file__, role, *arguments])
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _be_guest(path: str) -> None:
    """Answer upgrades; then echo, or flood, as the first byte says. One thread for each connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve_guest, args=(connection,), daemon=True).start()


def _serve_guest(connection: socket.socket) -> None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return
        head += byte
    accept = base64.b64encode(hashlib.sha1(_KEY.encode() + _SALT, usedforsecurity=False).digest()).decode()
    connection.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    with contextlib.suppress(OSError):
        if connection.recv(1) == _FLOOD:
            piece = b"v" * _PIECE
            for _ in range(FLOOD_IN_BYTES // _PIECE):
                connection.sendall(piece)
        while data := connection.recv(65_536):
            connection.sendall(data)


def _be_gateway(directory: str, port: str) -> None:
    import uvloop

    from fanlight.gateway.process import run_gateway

    uvloop.run(run_gateway(settings_for(Path(directory), portal_port=int(port))))


def main() -> None:
    if sys.argv[1:2] == ["guest"]:
        _be_guest(sys.argv[2])
    elif sys.argv[1:2] == ["gateway"]:
        _be_gateway(*sys.argv[2:4])
    else:
        found = measure()
        print(f"round trip, direct    p50 {found.direct_p50:.3f} ms   p99 {found.direct_p99:.3f} ms")
        print(f"round trip, relayed   p50 {found.relayed_p50:.3f} ms   p99 {found.relayed_p99:.3f} ms")
        print(f"gateway adds          p50 {found.added_p50:.3f} ms   p99 {found.added_p99:.3f} ms   (bar: 1 ms)")
        print(f"throughput            direct {found.direct_rate:.1f}   relayed {found.relayed_rate:.1f} Gbit/s")
        print(f"on one core           {found.relayed_rate_per_core:.1f} Gbit/s   (bar: 2)")


if __name__ == "__main__":
    main()
