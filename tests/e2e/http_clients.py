"""Plain HTTP as no browser and no SDK would send it: any header, any body, raw bytes, foreign origins."""

import base64
import http.client
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from e2e.installation import KEY_ID, SECRET

TARGET_PREFIX = "PhotonAdminProxyService"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None, timeout: float = 30
) -> Answer:
    """Send one request, follow no redirect, keep no cookie."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request(method, target, body, dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def signed_headers(
    url: str, target: str, body: bytes, *, content_type: str = "application/x-amz-json-1.1", secret: str = SECRET
) -> dict[str, str]:
    """Return the headers of a signed JSON request. `target` is an operation's name, or any text with a dot."""
    wanted = target if "." in target else f"{TARGET_PREFIX}.{target}"
    request = AWSRequest("POST", f"{url}/", {"Content-Type": content_type, "X-Amz-Target": wanted}, body)
    SigV4Auth(Credentials(KEY_ID, secret), "appstream", "us-east-1").add_auth(request)
    return dict(request.headers)


def signed_cbor_headers(url: str, operation: str, body: bytes) -> tuple[str, dict[str, str]]:
    """Return URL and headers of a signed rpc-v2-cbor request."""
    address = f"{url}/service/{TARGET_PREFIX}/operation/{operation}"
    wanted = {"Content-Type": "application/cbor", "Accept": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
    request = AWSRequest("POST", address, wanted, body)
    SigV4Auth(Credentials(KEY_ID, SECRET), "appstream", "us-east-1").add_auth(request)
    return address, dict(request.headers)


def upgrade_status(url: str, *, origin: str | None, cookie: str | None) -> int:
    """Try to open a WebSocket; return the status: 101 when it opened."""
    key = base64.b64encode(os.urandom(16)).decode()
    headers = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key,
    }  # fmt: skip
    headers |= {"Origin": origin} if origin is not None else {}
    headers |= {"Cookie": cookie} if cookie is not None else {}
    return ask("GET", url, headers).status


def send_raw(host: str, port: int, sent: bytes, *, timeout: float = 5) -> bytes:
    """Send bytes, say that no more come, and return what comes back until the peer closes or falls silent."""
    received = b""
    with socket.create_connection((host, port), timeout=timeout) as link:
        try:
            link.sendall(sent)
            link.shutdown(socket.SHUT_WR)
            while piece := link.recv(65_536):
                received += piece
        except OSError:
            pass  # a reset is an answer too
    return received
