"""How much may be copied into and out of a session: what Selkies lacks, added to the pinned version.

It knows one fixed cap for what comes in and none for what goes out. All that comes in, in whatever message, passes
`write_clipboard` of its input handler; all that goes out passes `send_ws_clipboard_data` of its WebSocket transport.
Both are wrapped here, in Selkies' own process, which the session's user cannot reach. What is too long is not cut: it
is not copied at all, and the browser is told. Text is counted in characters, anything else in bytes; of a copy in
several kinds (text and the same as HTML) the plain text comes first and the others only while the sum allows it.

`check` is run when the runtime is built and fails the build when Selkies is not what this file was written for.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fanlight.agentwire import MAX_COPY_IN, MAX_COPY_OUT

UNLIMITED = 20_971_520
TEXT = "text/plain"
# A text frame to the browser: this word, the direction, the length and the limit. The page shows it.
TOO_LONG = "fanlight_copy_too_long"
# What Selkies receives in pieces is, at worst, JSON that escapes each half of each character.
_BYTES_A_CHARACTER, _ENVELOPE_BYTES = 12, 65_536

Kind = tuple[str, bytes]  # a MIME type and the content


@dataclass(frozen=True, slots=True)
class CopyLimits:
    into: int
    out_of: int

    @classmethod
    def taken_from(cls, settings: dict[str, str]) -> "CopyLimits":
        """Take our members out of the settings of a session. Raises ValueError for what is no number."""
        return cls(*(int(settings.pop(name, UNLIMITED)) for name in (MAX_COPY_IN, MAX_COPY_OUT)))


def allowed(kinds: list[Kind], limit: int) -> list[Kind]:
    """Return what may be copied, in the given order: nothing if the plain text, or else the first kind, is too long."""
    if sum(len(content) for _, content in kinds) <= limit:
        return kinds  # no character has less than a byte: nothing large is decoded for nothing
    essential = next((kind for kind in kinds if kind[0] == TEXT), kinds[0] if kinds else None)
    if essential is None or length(essential) > limit:
        return []
    kept, left = [essential], limit - length(essential)
    for kind in kinds:
        if kind is not essential and length(kind) <= left:
            kept.append(kind)
            left -= length(kind)
    return [kind for kind in kinds if kind in kept]


def length(kind: Kind) -> int:
    """Return characters of text, also of text that is no valid UTF-8, and bytes of anything else."""
    mime, content = kind
    return len(content.decode("utf-8", "replace")) if mime.startswith("text/") else len(content)


def check(input_handler: Any, websockets_mode: Any) -> None:
    """Raise SystemExit unless Selkies has what `enforce` changes, called as it expects."""
    expected = {
        input_handler.WebRTCInput.write_clipboard: ["self", "data", "mime_type", "flavours"],
        websockets_mode.SelkiesStreamingApp.send_ws_clipboard_data: [
            "self",
            "data",
            "mime_type",
            "reply_to",
            "conn_id",
        ],
        input_handler._X11ClipboardMonitor._resolve_uri_list_image: ["self", "data_bytes"],  # noqa: SLF001
        input_handler.clipboard_flavours: ["payload"],
        input_handler.clipboard_envelope: ["entries"],
        websockets_mode._broadcast_to_clients: None,  # noqa: SLF001
    }
    for function, names in expected.items():
        if names is not None and list(inspect.signature(function).parameters) != names:
            raise SystemExit(f"{function.__qualname__} of Selkies has other parameters: see {__name__}")
    for name in ("MULTIPART_CLIPBOARD_MAX_SIZE", "CLIPBOARD_FLAVOURS_MIME"):
        if not hasattr(input_handler, name):
            raise SystemExit(f"{name} of Selkies is gone: see {__name__}")


def enforce(limits: CopyLimits, input_handler: Any, websockets_mode: Any) -> None:
    """Change the two modules of Selkies so that nothing longer is copied. Called before Selkies starts."""
    check(input_handler, websockets_mode)
    largest = limits.into * _BYTES_A_CHARACTER + _ENVELOPE_BYTES
    input_handler.MULTIPART_CLIPBOARD_MAX_SIZE = min(input_handler.MULTIPART_CLIPBOARD_MAX_SIZE, largest)
    # A copied file is a file, and its content goes by the rules for files.
    input_handler._X11ClipboardMonitor._resolve_uri_list_image = lambda self, data_bytes: None  # noqa: ARG005, SLF001

    async def tell(server: Any, direction: str, found: int, limit: int) -> None:
        if server is not None and server.clients:
            await websockets_mode._broadcast_to_clients(  # noqa: SLF001
                server.clients, f"{TOO_LONG},{direction},{found},{limit}", watched=True
            )

    _limit_incoming(limits.into, input_handler, tell)
    _limit_outgoing(limits.out_of, input_handler, websockets_mode, tell)


def _limit_incoming(limit: int, input_handler: Any, tell: Callable[..., Any]) -> None:
    write = input_handler.WebRTCInput.write_clipboard

    async def write_clipboard(
        self: Any, data: str | bytes, mime_type: str = TEXT, flavours: list[Kind] | None = None
    ) -> bool:
        kinds = flavours or [(mime_type, _encoded(data))]
        kept = allowed(kinds, limit)
        if not kept:
            await tell(self.data_server_instance, "in", length(kinds[0]), limit)
            return False
        if kept == kinds:
            return bool(await write(self, data, mime_type=mime_type, flavours=flavours))
        mime_type, data = kept[0]
        return bool(await write(self, data, mime_type=mime_type, flavours=kept))

    input_handler.WebRTCInput.write_clipboard = write_clipboard


def _limit_outgoing(limit: int, input_handler: Any, websockets_mode: Any, tell: Callable[..., Any]) -> None:
    app = websockets_mode.SelkiesStreamingApp
    send = app.send_ws_clipboard_data
    many = input_handler.CLIPBOARD_FLAVOURS_MIME

    async def send_ws_clipboard_data(
        self: Any, data: str | bytes, mime_type: str = TEXT, reply_to: str | None = None, conn_id: int | None = None
    ) -> None:
        content = _encoded(data)
        kinds = input_handler.clipboard_flavours(content) if mime_type == many else [(mime_type, content)]
        kept = allowed(kinds, limit)
        if not kept:
            if not reply_to:
                await tell(self.data_streaming_server, "out", length(kinds[0]), limit)
                return
            data, mime_type = "", TEXT  # who asked is answered
        elif kept != kinds:
            data, mime_type = input_handler.clipboard_envelope(kept), many
        await send(self, data, mime_type, reply_to=reply_to, conn_id=conn_id)

    app.send_ws_clipboard_data = send_ws_clipboard_data


def _encoded(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data
