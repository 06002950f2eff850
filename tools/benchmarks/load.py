"""A load generator in a process of its own: the same bytes again and again over kept-alive connections.

Run as `python load.py`, with a JSON job on standard input; prints the JSON result. It parses no more of an answer than
it must to know where it ends, so that it is faster than any server here and one core of it is enough.
"""

import asyncio
import base64
import json
import sys
import time
from typing import Any, cast

import uvloop


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, run: "Run", number: int) -> None:
        self.run, self.number = run, number
        self.buffer = bytearray()
        self.needed = -1  # bytes of the whole answer, -1 while the head is not complete
        self.is_last = False
        self.sent_at = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class, of the same shape
        self.send()

    def send(self) -> None:
        now = time.perf_counter()
        if now >= self.run.ends_at:
            self.run.finished(self)
            return
        pause = self.run.pause(now)
        if pause > 0:
            asyncio.get_running_loop().call_later(pause, self.send_now, now + pause)
        else:
            self.send_now(now)

    def send_now(self, due_at: float) -> None:
        # Counted from when it was due: a server that stalls must not lower the load it is measured under.
        self.sent_at = due_at
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(self.run.next_request())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.needed < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            self.needed = end + 4 + _content_length(head)
            self.is_last = b"connection: close" in head
        if len(self.buffer) >= self.needed:
            self.run.answered(time.perf_counter() - self.sent_at, bytes(self.buffer[9:12]), self.needed)
            del self.buffer[: self.needed]
            self.needed = -1
            if self.is_last and self.transport is not None:
                self.transport.close()  # the server does not keep it; go on with a new one
            else:
                self.send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self in self.run.open:
            self.run.reconnect(self)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    raise SystemExit("an answer without Content-Length: this load generator cannot tell where it ends")


class Run:
    def __init__(self, job: dict[str, Any]) -> None:
        self.host, self.port = job["host"], job["port"]
        self.requests: list[bytes] = [base64.b64decode(text) for text in job["requests"]]
        self.rate: float | None = job.get("rate")
        self.connections: int = job["connections"]
        self.ends_at = time.perf_counter() + job["seconds"]
        self.latencies: list[float] = []
        self.statuses: dict[str, int] = {}
        self.answer_bytes = 0
        self.reconnections = 0
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.done = asyncio.Event()
        self.turn = 0
        self.next_at = time.perf_counter()

    def next_request(self) -> bytes:
        self.turn += 1
        return self.requests[self.turn % len(self.requests)]

    def pause(self, now: float) -> float:
        """Return how long to wait so that all connections together keep the rate."""
        if self.rate is None:
            return 0.0
        self.next_at = max(self.next_at + 1 / self.rate, now - 1.0)
        return self.next_at - now

    def answered(self, latency: float, status: bytes, size: int) -> None:
        self.latencies.append(latency)
        self.answer_bytes = size
        self.statuses[status.decode()] = self.statuses.get(status.decode(), 0) + 1

    def finished(self, connection: Connection) -> None:
        self.open.discard(connection)
        if connection.transport is not None:
            connection.transport.close()
        if not self.open:
            self.done.set()

    def reconnect(self, lost: Connection) -> None:
        self.open.discard(lost)
        self.reconnections += 1
        task = asyncio.get_running_loop().create_task(self._connect(lost.number))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, number: int) -> None:
        connection = Connection(self, number)
        self.open.add(connection)
        await asyncio.get_running_loop().create_connection(lambda: connection, self.host, self.port)

    async def go(self) -> dict[str, Any]:
        began = time.perf_counter()
        # What goes wrong in a callback must end the run: it would wait for ever.
        asyncio.get_running_loop().set_exception_handler(lambda _, context: sys.exit(str(context)))
        for number in range(self.connections):
            await self._connect(number)
        async with asyncio.timeout(self.ends_at - began + 30):
            await self.done.wait()
        took = time.perf_counter() - began
        ordered = sorted(self.latencies)
        return {
            "requests": len(ordered),
            "per_second": len(ordered) / took,
            "p50": ordered[len(ordered) // 2],
            "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
            "max": ordered[-1],
            "statuses": self.statuses,
            "answer_bytes": self.answer_bytes,
            "reconnections": self.reconnections,
        }


async def main() -> None:
    run = Run(json.load(sys.stdin))
    print(json.dumps(await run.go()))


if __name__ == "__main__":
    uvloop.run(main())
