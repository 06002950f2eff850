"""How much is copied: by characters, by direction, and Selkies' two ways held to it."""

from types import SimpleNamespace
from typing import Any

import pytest

from fanlight.agent.copy_limits import CopyLimits, Kind, allowed, check, enforce

MANY = "application/x-many"


@pytest.mark.parametrize(
    ("kinds", "limit", "kept"),
    [
        ([("text/plain", b"12345")], 5, [("text/plain", b"12345")]),
        ([("text/plain", b"123456")], 5, []),
        ([("text/plain", "äöü🎨🎨".encode())], 5, [("text/plain", "äöü🎨🎨".encode())]),
        ([("text/plain", "äöü🎨🎨!".encode())], 5, []),
        ([("text/plain", b"\xff\xff\xff")], 3, [("text/plain", b"\xff\xff\xff")]),
        ([("text/plain", b"")], 1, [("text/plain", b"")]),
        ([("image/png", b"1234")], 4, [("image/png", b"1234")]),
        ([("image/png", "ää".encode())], 3, []),
        ([("text/html", b"<b>1</b>"), ("text/plain", b"1")], 9, [("text/html", b"<b>1</b>"), ("text/plain", b"1")]),
        ([("text/html", b"<b>1</b>"), ("text/plain", b"1")], 8, [("text/plain", b"1")]),
        ([("text/html", b"<b>1</b>"), ("text/plain", b"123")], 2, []),
        ([("text/html", b"<b>1</b>")], 7, []),
    ],
)
def test_what_is_too_long_is_not_copied_and_what_stands_beside_the_text_only_if_it_fits(
    kinds: list[Kind], limit: int, kept: list[Kind]
) -> None:
    assert allowed(kinds, limit) == kept


def test_the_limits_are_taken_out_of_the_settings_of_the_session() -> None:
    settings = {"fanlight_max_copy_in": "3", "fanlight_max_copy_out": "4", "encoder": "h264enc"}
    assert CopyLimits.taken_from(settings) == CopyLimits(3, 4)
    assert settings == {"encoder": "h264enc"}
    assert CopyLimits.taken_from({}) == CopyLimits(20_971_520, 20_971_520)


class Selkies:
    """The names of the pinned version that are changed, noting what still reaches them."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.sent: list[Any] = []
        self.told: list[str] = []
        written, sent, told = self.written, self.sent, self.told

        class WebRTCInput:
            data_server_instance = SimpleNamespace(clients={1})

            async def write_clipboard(self, data: Any, mime_type: str = "text/plain", flavours: Any = None) -> bool:
                written.append((data, mime_type, flavours))
                return True

        class Monitor:
            def _resolve_uri_list_image(self, data_bytes: bytes) -> str:
                return f"the content of {data_bytes!r}"

        class SelkiesStreamingApp:
            data_streaming_server = SimpleNamespace(clients={1})

            async def send_ws_clipboard_data(
                self, data: Any, mime_type: str = "text/plain", reply_to: Any = None, conn_id: Any = None
            ) -> None:
                sent.append((data, mime_type, reply_to, conn_id))

        async def broadcast(clients: Any, message: str, *, watched: bool) -> None:
            assert clients
            assert watched
            told.append(message)

        def flavours(payload: bytes) -> list[Kind]:
            return [("text/html", payload), ("text/plain", b"1")]

        def envelope(entries: list[Kind]) -> list[Kind]:
            return entries

        self.input_handler = SimpleNamespace(
            WebRTCInput=WebRTCInput, _X11ClipboardMonitor=Monitor, clipboard_flavours=flavours,
            clipboard_envelope=envelope, MULTIPART_CLIPBOARD_MAX_SIZE=64 << 20, CLIPBOARD_FLAVOURS_MIME=MANY,
        )  # fmt: skip
        self.websockets_mode = SimpleNamespace(SelkiesStreamingApp=SelkiesStreamingApp, _broadcast_to_clients=broadcast)

    def limited(self, into: int, out_of: int) -> "Selkies":
        enforce(CopyLimits(into, out_of), self.input_handler, self.websockets_mode)
        return self


async def test_only_what_is_short_enough_comes_in() -> None:
    selkies = Selkies().limited(into=3, out_of=100)
    handler = selkies.input_handler.WebRTCInput()
    assert await handler.write_clipboard("äöü")
    assert not await handler.write_clipboard("1234")
    assert not await handler.write_clipboard(b"1234", mime_type="image/png")
    both = [("text/html", b"<i>1</i>"), ("text/plain", b"1")]
    assert await handler.write_clipboard(b"<i>1</i>", mime_type="text/html", flavours=both)
    assert selkies.written == [("äöü", "text/plain", None), (b"1", "text/plain", [("text/plain", b"1")])]
    assert selkies.told == ["fanlight_copy_too_long,in,4,3"] * 2
    assert selkies.input_handler.MULTIPART_CLIPBOARD_MAX_SIZE < 1 << 20


async def test_only_what_is_short_enough_goes_out_and_who_asked_is_answered() -> None:
    selkies = Selkies().limited(into=100, out_of=3)
    app = selkies.websockets_mode.SelkiesStreamingApp()
    await app.send_ws_clipboard_data("äöü", conn_id=7)
    await app.send_ws_clipboard_data("1234")
    await app.send_ws_clipboard_data("1234", reply_to="cr", conn_id=7)
    await app.send_ws_clipboard_data(b"<i>1</i>", MANY)
    assert selkies.sent == [
        ("äöü", "text/plain", None, 7),
        ("", "text/plain", "cr", 7),
        ([("text/plain", b"1")], MANY, None, None),
    ]
    assert selkies.told == ["fanlight_copy_too_long,out,4,3"]


def test_a_copied_file_does_not_pass_as_a_picture() -> None:
    selkies = Selkies().limited(100, 100)
    monitor: Any = selkies.input_handler._X11ClipboardMonitor()
    assert monitor._resolve_uri_list_image(b"file:///etc/x.png") is None


def test_another_selkies_than_the_pinned_one_fails_the_build() -> None:
    selkies = Selkies()
    check(selkies.input_handler, selkies.websockets_mode)

    async def write_clipboard(self: Any, data: Any, kind: str) -> bool: ...

    selkies.input_handler.WebRTCInput.write_clipboard = write_clipboard
    with pytest.raises(SystemExit, match="write_clipboard of Selkies has other parameters"):
        check(selkies.input_handler, selkies.websockets_mode)
    selkies = Selkies()
    del selkies.input_handler.MULTIPART_CLIPBOARD_MAX_SIZE
    with pytest.raises(SystemExit, match="MULTIPART_CLIPBOARD_MAX_SIZE of Selkies is gone"):
        check(selkies.input_handler, selkies.websockets_mode)
