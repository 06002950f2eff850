"""A user who opens a streaming URL and follows the page's own requests, without a browser: for what needs no picture."""

import json
import uuid
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any
from urllib.request import HTTPCookieProcessor, Request, build_opener

from e2e.installation import wait_for


class PortalUser:
    def __init__(self, url: str) -> None:
        self._http = build_opener(HTTPCookieProcessor(CookieJar()))
        with self._http.open(url, timeout=20) as answer:
            self._page = answer.url
        self._viewer = str(uuid.uuid4())
        self._handle = ""

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        origin = "/".join(self._page.split("/")[:3])
        headers = {"X-Fanlight-Page": "1", "Origin": origin, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        asked = Request(f"{self._page.rstrip('/')}/api/{path}", data, headers, method=method)
        with self._http.open(asked, timeout=30) as answer:
            return dict(json.load(answer))

    def begin(self, application: str = "text-editor") -> None:
        """Start a session and wait until it is ACTIVE."""
        answer = self._ask("POST", "open", {"applicationId": application, "timeZone": None})
        self._handle = answer["session"]["handle"]
        wait_for(lambda: self._changed()["state"] == "ACTIVE", timeout=40, what="an ACTIVE session")

    def _changed(self) -> dict[str, Any]:
        """Wait as the page does for what comes after PENDING."""
        return dict(self._ask("GET", f"sessions/{self._handle}?viewer={self._viewer}&from=PENDING")["session"])

    def session(self) -> dict[str, Any]:
        """Return what the page is told of the session."""
        return dict(self._ask("GET", f"sessions/{self._handle}?viewer={self._viewer}")["session"])

    def end(self) -> None:
        self._ask("POST", f"sessions/{self._handle}/end", {})
        wait_for(lambda: self.session()["state"] == "EXPIRED", timeout=20, what="the end of the session")

    def folder_becomes(self, state: str, *, unsent: bool | None = None, within: float = 40) -> dict[str, Any]:
        """Wait until the page is told so of the one folder."""

        def look() -> dict[str, Any] | None:
            folders = self.session()["folders"]
            if len(folders) != 1 or folders[0]["state"] != state:
                return None
            is_unsent = folders[0]["unsentFiles"] > 0
            return dict(folders[0]) if unsent in (None, is_unsent) else None

        return dict(wait_for(look, timeout=within, what=f"a folder that is {state} (unsent: {unsent})", interval=0.2))

    def everything_is_saved(self, within: float = 40) -> None:
        """Wait until the page may say so after the end."""
        wait_for(lambda: self.session()["unsent"] is None, timeout=within, what="everything saved", interval=0.2)
