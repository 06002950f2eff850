"""One small HTTP request over a Unix socket, and its whole answer."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

LARGEST_ANSWER = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    head: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first of that name, whatever its capitals."""
        for line in self.head.split(b"\r\n")[1:]:
            each, _, value = line.partition(b":")
            if each.decode("latin-1").strip().lower() == name.lower():
                return value.decode("latin-1").strip()
        return None


async def ask(
    socket_path: str,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    limit_in_seconds: float,
) -> Answer:
    """Raises OSError when there is no answer that can be understood, TimeoutError (which is one) when it takes too long."""
    async with asyncio.timeout(limit_in_seconds):
        reader, writer = await asyncio.open_unix_connection(socket_path)
        try:
            # 1.0: the answer ends with the connection, and nobody sends it in chunks.
            lines = [f"{method} {target} HTTP/1.0", "Host: localhost", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
            received = bytearray()
            while data := await reader.read(1 << 18):
                received += data
                if len(received) > LARGEST_ANSWER:
                    raise OSError(f"the answer of {socket_path} is too long")
        finally:
            writer.close()
    head, _, content = bytes(received).partition(b"\r\n\r\n")
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise OSError(f"{socket_path} gives no answer of HTTP")
    return Answer(int(rest[:3]), content, head)
