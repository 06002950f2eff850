"""Client of the control socket. The only thing the gateway knows about the rest of Fanlight."""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from fanlight.controlwire.messages import (
    Catalog,
    CatalogEntry,
    FilesView,
    FolderView,
    Grant,
    SessionView,
    StackRules,
    to_json,
)

_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=2)
LONG_POLL_IN_SECONDS = 12.0  # What changes without a change of state (who is idle) is read this often.
_ENDED_SILENCE_IN_SECONDS = 40.0  # The stream says {} every 15 s; two missed ones mean that nobody is there.
_ANY_HOST = "http://control"


class ControlAway(Exception):
    """The control plane does not answer, is starting, or has lost its store. Trying again soon is right."""


class Refused(Exception):
    """The control plane said no; `code` chooses the page, the message is for the user."""

    def __init__(self, code: str, message: str, status: int, embed_host_domains: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.embed_host_domains = embed_host_domains
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Notice:
    """A session whose streams must be cut. Unless it `is_over`, it was disconnected only, because nobody used it."""

    session_id: str
    is_over: bool


class ControlClient:
    """One per process. Every method raises ControlAway or Refused."""

    def __init__(self, socket: Path) -> None:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(socket), limit=0), timeout=_TIMEOUT, trust_env=False
        )

    async def close(self) -> None:
        await self._http.close()

    async def redeem(self, parameters: str, signature: str) -> Grant:
        return _grant(await self._ask("POST", "/v1/redeem", {"parameters": parameters, "signature": signature}))

    async def rules(self, grant: Grant) -> StackRules:
        """Return the rules of the grant's stack; none are left when the stack is gone."""
        body = await self._ask("POST", "/v1/rules", to_json(grant))
        return StackRules(
            embed_host_domains=_texts(body, "embed_host_domains"), access_endpoints=_texts(body, "access_endpoints")
        )

    async def catalog(self, grant: Grant) -> Catalog:
        return _catalog(await self._ask("POST", "/v1/catalog", to_json(grant)))

    async def icon(self, store_ref: str, name: str, expires: str, signature: str) -> bytes:
        """Return the picture at an address that the control plane gave out. Refused when it did not, or not any more."""
        body = {"store_ref": store_ref, "name": name, "expires": expires, "signature": signature}
        return base64.b64decode(str((await self._ask("POST", "/v1/icons", body)).get("picture", "")))

    async def open_session(self, grant: Grant, application_id: str | None, time_zone: str | None = None) -> SessionView:
        """`time_zone` is "" when the browser does not know it, and None when it was not asked."""
        body = {"grant": to_json(grant), "application_id": application_id, "time_zone": time_zone}
        return _view(await self._ask("POST", "/v1/sessions", body))

    async def find_session(self, grant: Grant) -> SessionView | None:
        found = (await self._ask("POST", "/v1/sessions/find", {"grant": to_json(grant)})).get("session")
        return _view(found) if found else None

    async def session(self, session_id: str) -> SessionView:
        return _view(await self._ask("GET", _path(session_id)))

    async def wait_for_change(self, session_id: str, state: str) -> SessionView:
        """Return the session when it is no longer in `state` or its progress changed, or after the long poll's time."""
        query = f"?wait_for_change_from={quote(state, safe='')}&timeout={LONG_POLL_IN_SECONDS:g}"
        timeout = aiohttp.ClientTimeout(total=LONG_POLL_IN_SECONDS + 10, sock_connect=2)
        return _view(await self._ask("GET", _path(session_id) + query, timeout=timeout))

    async def launch(self, session_id: str, application_id: str, launch_id: str) -> SessionView:
        body = {"application_id": application_id, "launch_id": launch_id}
        return _view(await self._ask("POST", _path(session_id) + "/applications", body))

    async def report_connection(self, session_id: str, *, is_connected: bool, source_address: str) -> None:
        body = {"is_connected": is_connected, "source_address": source_address}
        await self._ask("POST", _path(session_id) + "/connection", body)

    async def refresh_storage(self, session_id: str) -> None:
        """Have the session's instance look anew at what is in the user's folders."""
        await self._ask("POST", _path(session_id) + "/refresh", {})

    async def end(self, session_id: str) -> SessionView:
        return _view(await self._ask("POST", _path(session_id) + "/end", {}))

    async def ended(self) -> AsyncIterator[Notice | None]:
        """Yield None once connected, then each session to be cut, until the control plane goes away."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=_ENDED_SILENCE_IN_SECONDS)
        try:
            async with self._http.get(f"{_ANY_HOST}/v1/ended", timeout=timeout) as response:
                if response.status != 200:  # noqa: PLR2004
                    raise ControlAway(f"the control socket answers {response.status}")
                yield None
                async for line in response.content:
                    words = json.loads(line)
                    for key, is_over in (("session_id", True), ("disconnect", False)):
                        if session_id := words.get(key):
                            yield Notice(str(session_id), is_over)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ControlAway("the stream of ended sessions broke") from error

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout: aiohttp.ClientTimeout = _TIMEOUT,  # noqa: ASYNC109 - handed on to the request
    ) -> dict[str, Any]:
        try:
            async with self._http.request(method, _ANY_HOST + path, json=body, timeout=timeout) as response:
                answer = await response.json(content_type=None)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ControlAway("the control socket does not answer") from error
        if not isinstance(answer, dict) or status >= 500:  # noqa: PLR2004
            raise ControlAway(f"the control socket answers {status}")
        if status >= 400:  # noqa: PLR2004
            code, message = str(answer.get("code", "REFUSED")), str(answer.get("message", "Refused."))
            raise Refused(code, message, status, _texts(answer, "embed_host_domains"))
        return answer


def _path(session_id: str) -> str:
    return f"/v1/sessions/{quote(session_id, safe='')}"


def _known(kind: type, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that this version knows: a newer control plane may say more."""
    return {name: body[name] for name in kind.__dataclass_fields__ if name in body}  # type: ignore[attr-defined]


def _texts(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(map(str, body.get(name) or ()))


def _view(body: Mapping[str, Any]) -> SessionView:
    fields = _known(SessionView, body)
    parts = {
        "features": tuple(fields.get("features", ())),
        "folders": tuple(FolderView(**_known(FolderView, folder)) for folder in fields.get("folders", ())),
        "unsent": _files(fields.get("unsent")),
        "lost_before": _files(fields.get("lost_before")),
        "saving_before": _files(fields.get("saving_before")),
    }
    return SessionView(**fields | parts)


def _files(body: Mapping[str, Any] | None) -> FilesView | None:
    return FilesView(**_known(FilesView, body)) if body else None


def _grant(body: Mapping[str, Any]) -> Grant:
    return Grant(**_known(Grant, body))


def _catalog(body: Mapping[str, Any]) -> Catalog:
    fields = _known(Catalog, body)
    entries = tuple(CatalogEntry(**_known(CatalogEntry, entry)) for entry in fields.get("entries", ()))
    return Catalog(**fields | {"entries": entries})
