"""A hand-made client of the portal: the page's requests and the stream's messages, without the page and its manners."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

VIEWER = "hand-made-viewer"
PAGE = {"X-Fanlight-Page": "1"}
HELLO = {"initialClientWidth": 1280, "initialClientHeight": 800, "displayId": "primary", "tabId": "hand", "encoder": "h264enc"}  # fmt: skip
PATIENCE_IN_SECONDS = 15.0


@dataclass(slots=True)
class Hand:
    """One signed-in user. `texts` are all text frames of the stream so far, oldest first."""

    http: aiohttp.ClientSession
    page: str
    stream: aiohttp.ClientWebSocketResponse | None = None
    texts: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        parts = urlsplit(self.page)
        return f"{parts.scheme}://{parts.netloc}"

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Send one of the page's own requests."""
        headers = {**PAGE, "Origin": self.origin}
        async with self.http.request(method, f"{self.page}api/{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def begin(self, application: str, **more: Any) -> None:
        """Open the session and wait until it is ACTIVE."""
        status, said = await self.call("POST", "open", {"applicationId": application, **more})
        assert status == 200, said
        await self.call("POST", f"sessions/{said['session']['handle']}/attach", {"viewer": VIEWER})
        handle, deadline = said["session"]["handle"], time.monotonic() + 30
        while said["session"]["state"] != "ACTIVE":
            assert time.monotonic() < deadline, said
            state = said["session"]["state"]
            status, said = await self.call("GET", f"sessions/{handle}?viewer={VIEWER}&from={state}")
            if status == 503:
                said = {"session": {"state": state}}
                await asyncio.sleep(0.1)
            assert "session" in said, said

    async def features(self) -> set[str]:
        _, said = await self.call("GET", "state")
        return set(said["session"]["features"])

    async def upload(self, path: str, content: bytes, **headers: str) -> int:
        sent = {"Origin": self.origin, "X-Upload-Path": quote(path, safe=""), **headers}
        async with self.http.post(f"{self.page}stream/api/upload", data=content, headers=sent) as answer:
            return answer.status

    async def fetch(self, path: str) -> tuple[int, bytes]:
        """Return what the gateway says to a request for a file, a list or a printed document."""
        async with self.http.get(f"{self.page}{path}", headers=PAGE) as answer:
            return answer.status, await answer.read()

    async def say(self, *messages: str | bytes) -> None:
        assert self.stream is not None
        for message in messages:
            await (self.stream.send_bytes(message) if isinstance(message, bytes) else self.stream.send_str(message))

    async def listen(self) -> None:
        assert self.stream is not None
        async for message in self.stream:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.texts.append(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY and message.data[0] == 0x04:
                await self.stream.send_str(f"CLIENT_FRAME_ACK {int.from_bytes(message.data[2:4])} 0")

    async def hears(self, is_it: Callable[[str], bool], what: str, *, since: int = 0) -> str:
        """Return the first text frame of which it is so."""
        deadline = time.monotonic() + PATIENCE_IN_SECONDS
        while True:
            if found := next((text for text in self.texts[since:] if is_it(text)), None):
                return found
            assert time.monotonic() < deadline, f"never heard {what}; heard {[t[:80] for t in self.texts[since:]]}"
            await asyncio.sleep(0.02)

    async def settles(self) -> None:
        """Wait until all that was said so far has been dealt with: messages are taken one after the other."""
        since = len(self.texts)
        await self.say("STOP_VIDEO")
        await self.hears(lambda text: text == "VIDEO_STOPPED", "the answer to STOP_VIDEO", since=since)


@asynccontextmanager
async def hand_of(url: str, connector: aiohttp.BaseConnector | None = None) -> AsyncIterator[Hand]:
    """Sign in with a streaming URL, as a program that follows it; `connector` says from where."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, connector=connector) as http, http.get(url) as answer:
        assert answer.status == 200, await answer.text()
        yield Hand(http, str(answer.url).partition("?")[0])


@asynccontextmanager
async def streaming(hand: Hand) -> AsyncIterator[Hand]:
    """Open the stream through the gateway."""
    address = f"{hand.page}stream/api/websockets"
    async with hand.http.ws_connect(address, headers={"Origin": hand.origin}, max_msg_size=2**26) as stream:
        hand.stream = stream
        listening = asyncio.create_task(hand.listen())
        try:
            await hand.say("SETTINGS," + json.dumps(HELLO))
            await hand.hears(lambda text: "server_settings" in text, "the settings")
            yield hand
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def pasted(text: str) -> str:
    """Return the message by which a page writes text into the session's clipboard."""
    return "cw," + base64.b64encode(text.encode()).decode()


def copied(text: str) -> str:
    """Return the message by which a page is given text from the session's clipboard."""
    return "clipboard," + base64.b64encode(text.encode()).decode()
