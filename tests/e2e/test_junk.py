"""Junk on the listeners of a running installation: an error in words, never a 500, never a traceback, never a change."""

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import cbor2
import pytest

from e2e.administrators import Administrator
from e2e.http_clients import Answer, ask, send_raw, signed_cbor_headers, signed_headers, upgrade_status
from e2e.installation import Installation, wait_for

MEGABYTE = 1_000_000
TRACES = (b"Traceback", b'File "', b"/src/fanlight", b"sqlalchemy", b"aiohttp.", b"Error(")


@pytest.fixture(scope="module")
def target(simulated: Installation) -> Installation:
    Administrator(simulated.client()).make("junk", capacity=1)
    return simulated


def snapshot(installation: Installation) -> dict[str, Any]:
    """Return all that an administrator can see."""
    appstream = installation.client()
    return {
        "fleets": appstream.describe_fleets()["Fleets"],
        "stacks": appstream.describe_stacks()["Stacks"],
        "images": appstream.describe_images()["Images"],
        "sessions": appstream.describe_sessions(StackName="junk", FleetName="junk")["Sessions"],
    }


@pytest.fixture
def unchanged(target: Installation) -> Iterator[Installation]:
    before = snapshot(target)
    pids = target.pids()
    yield target
    assert snapshot(target) == before
    assert target.pids() == pids, "a process died of it"
    assert "Traceback" not in target.log()


def assert_refused(answer: Answer, *statuses: int) -> None:
    assert 400 <= answer.status < 500, answer
    assert not statuses or answer.status in statuses, answer
    assert not [trace for trace in TRACES if trace in answer.body], answer.body


def modelled_code(answer: Answer) -> str:
    return str(json.loads(answer.body)["__type"]).rsplit("#", 1)[-1]


JSON_BODIES = {
    "nothing": b"",
    "truncated": b'{"Name": "x", "ImageName": "y',
    "no object": b'["Name"]',
    "a number": b"1",
    "null": b"null",
    "not UTF-8": b'{"Name": "\xff\xfe"}',
    "a lone surrogate": b'{"Name": "\\ud800"}',
    "deeply nested": b'{"Name":' * 20_000,
    "wrong types": b'{"Name": 5, "ImageName": [], "ComputeCapacity": "many", "InstanceType": {}}',
    "a huge number": b'{"Name": "x", "InstanceType": "stream.standard.medium", "ImageName": "i", "MaxUserDurationInSeconds": 1e999}',
    "a number with 5,000 digits": b'{"Name": "x", "InstanceType": "t", "MaxUserDurationInSeconds": '
    + b"9" * 5000
    + b"}",
    "NaN": b'{"Name": "x", "InstanceType": "t", "MaxUserDurationInSeconds": NaN}',
    "a NUL": b'{"Name": "a\\u0000b", "InstanceType": "stream.standard.medium", "ImageName": "i"}',
    "10 MB": b'{"Name": "' + b"a" * 10 * MEGABYTE + b'"}',
}


@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES)
def test_json_junk_is_refused_with_a_modelled_error(body: bytes, unchanged: Installation) -> None:
    answer = ask("POST", f"{unchanged.api_url}/", signed_headers(unchanged.api_url, "CreateFleet", body), body)
    assert_refused(answer)
    assert modelled_code(answer)


_GOOD_CBOR = cbor2.dumps({"Name": "x", "ImageName": "i", "InstanceType": "stream.standard.medium"})
CBOR_BODIES = {
    "truncated": _GOOD_CBOR[:-5],
    "no map": cbor2.dumps([1, 2]),
    "wrong types": cbor2.dumps({"Name": 5, "ImageName": {}, "InstanceType": b"bytes"}),
    "garbage": bytes(range(256)),
    "a length that is not there": b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    "a text of 4 GiB that is not there": b"\xa1\x7a\xff\xff\xff\xff",
    "deeply nested": b"\x81" * 50_000,
    "endless": b"\xbf" * 10_000,
    "tags": b"\xd9\xd9\xf7\xa1\x64Name\xc2\x41\xff",
    "10 MB": cbor2.dumps({"Name": "a" * 10 * MEGABYTE}),
}  # fmt: skip


@pytest.mark.parametrize("body", CBOR_BODIES.values(), ids=CBOR_BODIES)
def test_cbor_junk_is_refused_with_a_modelled_error(body: bytes, unchanged: Installation) -> None:
    url, headers = signed_cbor_headers(unchanged.api_url, "CreateFleet", body)
    answer = ask("POST", url, headers, body)
    assert_refused(answer)
    # A body that is too long is refused before it is read, in whatever form.
    if answer.status != 413:
        assert cbor2.loads(answer.body)["__type"]


@pytest.mark.parametrize(
    "wanted",
    ["Nothing", "DescribeFleets\x7f", "../../etc/passwd", "Foreign.Service", "X" * 4000, "PhotonAdminProxyService."],
)
def test_an_unknown_target_is_refused(wanted: str, unchanged: Installation) -> None:
    assert_refused(ask("POST", f"{unchanged.api_url}/", signed_headers(unchanged.api_url, wanted, b"{}"), b"{}"))


def _altered(name: str, change: Callable[[str], str]) -> Callable[[dict[str, str]], None]:
    def apply(headers: dict[str, str]) -> None:
        headers[name] = change(headers[name])

    return apply


FORGERIES: dict[str, Callable[[dict[str, str]], Any]] = {
    "no signature": lambda h: h.pop("Authorization"),
    "a wrong signature": _altered("Authorization", lambda v: v[:-4] + ("0000" if v[-4:] != "0000" else "1111")),
    "an unknown key": _altered("Authorization", lambda v: v.replace("AKIATESTTESTTESTTEST", "AKIAUNKNOWNUNKNOWN12")),
    "another service": _altered("Authorization", lambda v: v.replace("/appstream/", "/s3/")),
    "another region": _altered("Authorization", lambda v: v.replace("us-east-1", "mars-north-1")),
    "an old date": _altered("X-Amz-Date", lambda _: "20200101T000000Z"),
    "no date": lambda h: h.pop("X-Amz-Date"),
    "garbage": _altered("Authorization", lambda _: "AWS4-HMAC-SHA256 ===,,,"),
    "another scheme": _altered("Authorization", lambda _: "Basic YTpi"),
    "a session token of nobody": lambda h: h.update({"X-Amz-Security-Token": "x" * 5000}),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_bad_signature_is_refused(forge: Callable[[dict[str, str]], Any], unchanged: Installation) -> None:
    body = b'{"Name": "junk"}'
    headers = signed_headers(unchanged.api_url, "StopFleet", body)
    forge(headers)
    answer = ask("POST", f"{unchanged.api_url}/", headers, body)
    assert_refused(answer, 400, 403)
    assert modelled_code(answer)


def test_a_body_that_is_not_the_signed_one_is_refused(unchanged: Installation) -> None:
    headers = signed_headers(unchanged.api_url, "StopFleet", b'{"Name": "other"}')
    assert_refused(ask("POST", f"{unchanged.api_url}/", headers, b'{"Name": "junk" }'), 403)


RAW = {
    "nothing": b"",
    "random bytes": os.urandom(50_000),
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
    "half a head": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le",
    "a long line": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: b\r\n" % i for i in range(20_000)) + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\n{}",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "a bad chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "a proxy's request": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "an old version": b"GET / HTTP/0.9\r\n\r\n",
}


@pytest.mark.parametrize("listener", ["api", "portal"])
@pytest.mark.parametrize("sent", RAW.values(), ids=RAW)
def test_raw_bytes_never_cause_a_500_or_a_traceback(sent: bytes, listener: str, unchanged: Installation) -> None:
    port = {"api": unchanged.api_port, "portal": unchanged.portal_port}[listener]
    received = send_raw("127.0.0.1", port, sent)
    statuses = re.findall(rb"^HTTP/1\.[01] (\d{3})", received, re.MULTILINE)
    assert not [status for status in statuses if status.startswith(b"5")], received[:500]
    assert not [trace for trace in TRACES if trace in received], received[:2000]


PATHS = [
    "/s/", "/s/x/", "/s/../../etc/passwd", "/s/%2e%2e/%2e%2e/etc/passwd", "/s/x/stream/api/websockets", "/assets/x/y",
    "/client/v/t/..%2f..%2f..%2fetc/passwd", "/client/v/t/../../../../etc/passwd", "/icons/..%2f..%2fstate/fanlight.db",
    "/icons/../x.png", "/%00", "/\xff".encode("latin-1").decode("latin-1").encode("unicode_escape").decode(),
    "/authenticate", "/authenticate?parameters=&signature=", "/authenticate?parameters=%00&signature=%ff",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_paths_of_the_portal_that_lead_nowhere_say_so(method: str, path: str, unchanged: Installation) -> None:
    assert_refused(ask(method, f"{unchanged.portal_url}{path}", {"Cookie": "fanlight-x=a.b; x=\x80"}, b"{}"))


@pytest.mark.parametrize("listener", ["api", "portal"])
def test_a_body_of_10_mb_is_refused_without_a_signature_or_a_cookie(listener: str, unchanged: Installation) -> None:
    url = {"api": unchanged.api_url, "portal": unchanged.portal_url}[listener]
    body = os.urandom(10 * MEGABYTE)
    try:
        answer = ask("POST", f"{url}/s/x/api/open" if listener == "portal" else f"{url}/", {}, body)
    except (BrokenPipeError, ConnectionResetError):
        return  # refused before it was read
    assert_refused(answer)


def streaming_url(installation: Installation, **wished: Any) -> str:
    return Administrator(installation.client()).url("junk", "junk-user", "text-editor", **wished)


def test_every_altered_streaming_url_is_refused(unchanged: Installation) -> None:
    url = streaming_url(unchanged)
    query = parse_qs(urlsplit(url).query, strict_parsing=True)
    [parameters], [signature] = query["parameters"], query["signature"]
    forged = json.loads(base64.b64decode(parameters))
    assert forged["userId"] == "junk-user"
    forged["userId"] = "somebody-else"
    pairs = {
        "another user": (base64.b64encode(json.dumps(forged).encode()).decode(), signature),
        "a cut signature": (parameters, signature[:-4]),
        "no signature": (parameters, ""),
        "a longer signature": (parameters, signature + "AAAA"),
        "cut parameters": (parameters[: len(parameters) // 2], signature),
        "no base64": ("!!!!", signature),
        "no JSON": (base64.b64encode(b"{").decode(), signature),
        "not UTF-8": (base64.b64encode(b"\xff\xfe").decode(), "\xff"),
        "10 kB": ("A" * 7_000, signature),
    }
    for name, (changed, sign) in pairs.items():
        answer = ask("GET", f"{unchanged.portal_url}/authenticate?parameters={quote(changed)}&signature={quote(sign)}")
        assert_refused(answer)
        assert "set-cookie" not in answer.headers, name
        assert answer.headers["content-type"].startswith("text/html"), name


def test_an_expired_streaming_url_is_refused_in_words(unchanged: Installation) -> None:
    url = streaming_url(unchanged, validity_in_seconds=1)
    [parameters] = parse_qs(urlsplit(url).query)["parameters"]
    expires_at = int(json.loads(base64.b64decode(parameters))["expires"])
    wait_for(lambda: time.time() > expires_at, timeout=5, what="the URL expires")
    answer = ask("GET", url)
    assert_refused(answer)
    assert b"This link has expired" in answer.body


def test_a_websocket_without_a_cookie_is_refused(unchanged: Installation) -> None:
    url = f"{unchanged.portal_url}/s/aaaaaaaaaaaaaaaa/stream/api/websockets"
    assert upgrade_status(url, origin=unchanged.portal_url, cookie=None) == 403
    assert upgrade_status(url, origin=unchanged.portal_url, cookie="fanlight-aaaaaaaaaaaaaaaa=x.y") == 403
