"""Answers: security headers for all, message pages in words, JSON errors for the page's own requests."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from fanlight.gateway.context import GATEWAY

_SHELL = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors "
)
SHELL_POLICY = f"{_SHELL}'none'"
# Of what browsers can hand to pages, the stream needs these, and only on our own origin.
_PERMISSIONS = (
    "autoplay=(self), clipboard-read=(self), clipboard-write=(self), fullscreen=(self), gamepad=(self), "
    "keyboard-map=(self), microphone=(self), screen-wake-lock=(self), "
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), "
    "magnetometer=(), midi=(), payment=(), serial=(), usb=(), publickey-credentials-get=()"
)
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": _PERMISSIONS,
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
    "Content-Security-Policy": SHELL_POLICY,
}
IMMUTABLE = "public, max-age=31536000, immutable"


def shell_policy(embedders: Sequence[str]) -> str:
    """Return the policy of a page that pages of these origins may frame; nobody may when there are none."""
    return _SHELL + " ".join(embedders) if embedders else SHELL_POLICY


def frame_policy(origin: str, embedders: Sequence[str] = ()) -> str:
    """Return the policy of the frame: the stream client runs workers and WebAssembly from blobs and injects its style.

    Browsers ask it for every ancestor: our own page, and the page of an embedder around that.
    """
    ancestors = " ".join(("'self'", *embedders))
    sockets = origin.replace("http", "ws", 1)  # older Safari does not take 'self' for WebSockets
    return (
        "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
        f"connect-src 'self' {sockets}; frame-src blob:; base-uri 'self'; form-action 'none'; "
        f"frame-ancestors {ancestors}"
    )


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001
    """Signal handler: every answer has these, unless its handler chose otherwise."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    # For browsers that do not know frame-ancestors. It cannot name other sites, so it is left out where there are some.
    _, _, ancestors = response.headers["Content-Security-Policy"].rpartition("frame-ancestors ")
    if old_word := {"'none'": "DENY", "'self'": "SAMEORIGIN"}.get(ancestors):
        response.headers["X-Frame-Options"] = old_word
    response.headers.pop("Server", None)


def page_response(request: web.Request, name: str, *, status: int = 200, **texts: str) -> web.Response:
    page = request.app[GATEWAY].portal.page(name, **texts)
    return web.Response(status=status, text=page, content_type="text/html", charset="utf-8")


def message_page(
    request: web.Request, *, status: int, title: str, text: str, detail: str = "", retry_in_seconds: int = 0
) -> web.Response:
    """Return a page that says one thing; with `retry_in_seconds` it loads itself again, without any script."""
    name = "message_retry.html" if retry_in_seconds else "message.html"
    texts = {"title": title, "text": text, "detail": detail}
    if retry_in_seconds:
        texts["seconds"] = str(retry_in_seconds)
    answer = page_response(request, name, status=status, **texts)
    if retry_in_seconds:
        answer.headers["Retry-After"] = str(retry_in_seconds)
    return answer


def json_error(status: int, code: str, message: str) -> web.Response:
    return json_answer({"code": code, "message": message}, status=status)


def json_answer(body: dict[str, Any], *, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)
