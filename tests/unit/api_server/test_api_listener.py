"""Junk and bad days at the listener: always a code, never a 500 of the caller's making, never a change."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import cbor2
import pytest
from api_server_rig import KEY
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fanlight.domain.errors import DriverUnavailable, StoreUnavailable

TARGET = "PhotonAdminProxyService.DescribeFleets"
CBOR_PATH = "/service/PhotonAdminProxyService/operation/DescribeFleets"


def signed(api: Any, body: bytes, path: str = "/", **headers: str) -> dict[str, str]:
    request = AWSRequest("POST", api.url + path, headers, body)
    SigV4Auth(Credentials(KEY.access_key_id, KEY.secret_access_key), "appstream", "us-east-1").add_auth(request)
    return dict(request.headers.items())


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def post(
    http: aiohttp.ClientSession, api: Any, body: Any, path: str = "/", **headers: str
) -> tuple[int, Any, Any]:
    """Send signed bytes in JSON; return status, decoded body and headers."""
    if path == "/":
        headers = {"X-Amz-Target": TARGET, **headers}
    async with http.post(api.url + path, data=body, headers=signed(api, body, path, **headers)) as answer:
        raw = await answer.read()
        is_cbor = answer.content_type == "application/cbor"
        return answer.status, (cbor2.loads(raw) if is_cbor else json.loads(raw)), answer.headers


async def test_a_refusal_names_itself_in_body_and_header(http: Any, api: Any) -> None:
    status, body, headers = await post(http, api, b'{"Names":1}')
    text = "NUMBER_VALUE can not be converted to a list at 'names'"
    assert (status, body) == (400, {"__type": "SerializationException", "Message": text, "message": text})
    assert headers["x-amzn-ErrorType"] == "SerializationException"
    assert headers["Content-Type"] == "application/x-amz-json-1.1"
    assert len(headers["x-amzn-RequestId"]) == 36
    assert headers["Server"] == "Fanlight"


async def test_a_refusal_in_cbor_names_its_full_shape_id(http: Any, api: Any) -> None:
    status, body, headers = await post(http, api, b"\xff", CBOR_PATH, **{"smithy-protocol": "rpc-v2-cbor"})
    assert (status, body["__type"]) == (400, "com.amazonaws.photon#SerializationException")
    assert headers["smithy-protocol"] == "rpc-v2-cbor"


@pytest.mark.parametrize(
    ("method", "path", "headers", "code", "status"),
    [
        ("POST", "/", {}, "UnknownOperationException", 404),
        ("POST", "/", {"X-Amz-Target": "PhotonAdminProxyService.Nothing"}, "UnknownOperationException", 404),
        ("POST", "/", {"X-Amz-Target": "Other.DescribeFleets"}, "UnknownOperationException", 404),
        ("POST", "/", {"X-Amz-Target": "\xff\xfe"}, "UnknownOperationException", 404),
        ("PUT", "/", {"X-Amz-Target": TARGET}, "UnknownOperationException", 404),
        ("DELETE", "/anything/at/all?x=1", {}, "UnknownOperationException", 404),
        ("GET", "/..%2f..%2fetc/passwd", {}, "UnknownOperationException", 404),
        ("OPTIONS", "/", {}, "UnknownOperationException", 404),
        ("POST", "/", {"X-Amz-Target": TARGET}, "MissingAuthenticationTokenException", 403),
        ("POST", "/", {"X-Amz-Target": TARGET, "Authorization": "Bearer x"}, "IncompleteSignature", 403),
        ("POST", "/?X-Amz-Signature=0", {"X-Amz-Target": TARGET}, "IncompleteSignature", 403),
        ("POST", "/", {"X-Amz-Target": TARGET, "Content-Encoding": "gzip"}, "MalformedHttpRequestException", 400),
        ("POST", "/", {"X-Amz-Target": TARGET, "smithy-protocol": "rpc-v2-cbor"}, "MalformedHttpRequestException", 400),
        ("POST", CBOR_PATH, {}, "MalformedHttpRequestException", 400),
        ("POST", CBOR_PATH, {"smithy-protocol": "rpc-v2-cbor"}, "MissingAuthenticationTokenException", 403),
        ("GET", CBOR_PATH, {"smithy-protocol": "rpc-v2-cbor"}, "UnknownOperationException", 404),
    ],
)
async def test_what_is_no_request_gets_a_code(  # noqa: PLR0917 - a table of cases
    http: Any, api: Any, method: str, path: str, headers: dict[str, str], code: str, status: int
) -> None:
    import yarl

    url = yarl.URL(api.url + path, encoded=True)
    async with http.request(method, url, headers=headers, data=b"\x1f\x8b") as answer:
        raw = await answer.read()
        body = cbor2.loads(raw) if answer.content_type == "application/cbor" else json.loads(raw)
        assert (answer.status, body["__type"].rpartition("#")[2]) == (status, code)
        assert "x-amzn-RequestId" in answer.headers


async def test_people_who_open_the_endpoint_hear_what_it_is(http: Any, api: Any) -> None:
    async with http.get(api.url) as answer:
        assert answer.status == 200
        assert "not a page for browsers" in (await answer.json())["message"]
    async with http.get(f"{api.url}/healthz") as answer:
        assert await answer.json() == {"status": "ok"}


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_ten_megabytes_are_refused_without_being_read(http: Any, api: Any, is_chunked: bool) -> None:  # noqa: FBT001
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65536

    body = endless() if is_chunked else io.BytesIO(b" " * 10_485_760)
    async with http.post(api.url, data=body, headers={"X-Amz-Target": TARGET}) as answer:
        assert answer.status == 413
        assert (await answer.json(content_type=None))["__type"] == "RequestEntityTooLargeException"


async def test_a_body_that_never_ends_times_out(api: Any) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: {TARGET}\r\nContent-Length: 100\r\n\r\n{{".encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 60)
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_client_that_leaves_half_way_leaves_no_error(api: Any) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    for junk in (
        b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: " + TARGET.encode() + b"\r\nContent-Length: 9\r\n\r\n{",
        b"\x16\x03\x01\x02\x00\x01",
    ):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(junk)
        await writer.drain()
        writer.close()
    await asyncio.sleep(0.1)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=300), is_json=st.booleans(), operation=st.sampled_from(["CreateStack", "DescribeStacks"])
)
async def test_signed_junk_is_refused_and_changes_nothing(
    http: Any,
    api: Any,
    body: bytes,
    is_json: bool,  # noqa: FBT001 - drawn
    operation: str,
) -> None:
    if is_json:
        status, _, _ = await post(http, api, body, **{"X-Amz-Target": f"PhotonAdminProxyService.{operation}"})
    else:
        path = f"/service/PhotonAdminProxyService/operation/{operation}"
        status, _, _ = await post(http, api, body, path, **{"smithy-protocol": "rpc-v2-cbor"})
    assert status == 400 or (status == 200 and operation == "DescribeStacks")
    status, answer, _ = await post(http, api, b"{}", **{"X-Amz-Target": "PhotonAdminProxyService.DescribeStacks"})
    assert (status, answer.get("Stacks")) == (200, [])


class _Failing:
    """Services of which every attribute fails in the way of the test."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


@pytest.fixture
async def failing(api: Any, settings: Any) -> AsyncIterator[Any]:
    """Serve handlers whose services fail; call it with the error."""
    from aiohttp import web

    from fanlight.api.audit import AuditLog
    from fanlight.api.catalogue import aws_services
    from fanlight.api.listener import make_api_app, make_api_runner

    runners = []
    audit = AuditLog(api.audit_file)

    async def serve(error: Exception, *, is_strict: bool = True, find_key: Any = None) -> Any:
        app = make_api_app(
            aws_services(),
            _Failing(error),  # type: ignore[arg-type]
            find_key or api.services.access_keys.find,
            replace(settings, is_strict=is_strict),
            audit,
        )
        runner = make_api_runner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return replace(api, url=f"http://127.0.0.1:{runner.addresses[0][1]}")

    yield serve
    for runner in runners:
        await runner.cleanup()
    audit.close()


@pytest.mark.parametrize("error", [DriverUnavailable("/var/lib/incus is away"), StoreUnavailable("db.internal:5432")])
async def test_an_outage_is_503_and_keeps_its_reason_for_the_log(
    http: Any, failing: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    status, body, _ = await post(http, await failing(error), b"{}")
    assert (status, body["__type"]) == (503, "ServiceUnavailable")
    assert body["message"] == "The service is not available at the moment. Try again."
    assert any(getattr(record, "reason", "") == str(error) for record in caplog.records)


async def test_a_key_store_that_is_away_is_503(http: Any, failing: Any) -> None:
    async def find_key(_: str) -> None:
        raise StoreUnavailable("locked")

    status, body, _ = await post(http, await failing(ValueError(), find_key=find_key), b"{}")
    assert (status, body["__type"]) == (503, "ServiceUnavailable")


async def test_what_nobody_expected_is_logged_and_not_told(
    http: Any, failing: Any, caplog: pytest.LogCaptureFixture, makes_errors: None
) -> None:
    status, body, headers = await post(http, await failing(RuntimeError("the secret plan")), b"{}")
    assert (status, body["__type"]) == (500, "InternalFailure")
    assert "secret plan" not in json.dumps(body)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert getattr(record, "request_id") == headers["x-amzn-RequestId"]  # noqa: B009 - a field of ours
    assert record.exc_info


async def test_an_undeclared_error_fails_in_tests_and_is_answered_in_production(
    http: Any, failing: Any, makes_errors: None
) -> None:
    from fanlight.domain.errors import AlreadyExists

    error = AlreadyExists("fleet", "cad")
    assert (await post(http, await failing(error), b"{}"))[0] == 500
    status, body, _ = await post(http, await failing(error, is_strict=False), b"{}")
    assert (status, body["__type"]) == (400, "ValidationException")
    assert body["message"] == str(error)


async def test_the_nearest_untrusted_address_is_the_source(http: Any, api: Any) -> None:
    await post(http, api, b"{}", **{"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 127.0.0.1"})
    await post(http, api, b"{}", **{"X-Forwarded-For": "6.6.6.6, junk"})
    lines = [json.loads(line) for line in api.audit_file.read_text(encoding="utf-8").splitlines()]
    assert [line["source_address"] for line in lines] == ["203.0.113.7", "127.0.0.1"]


async def test_a_refused_caller_is_in_the_audit_log_without_an_account(http: Any, api: Any) -> None:
    async with http.post(api.url, headers={"X-Amz-Target": TARGET}) as answer:
        assert answer.status == 403
    [line] = [json.loads(line) for line in api.audit_file.read_text(encoding="utf-8").splitlines()]
    assert (line["operation"], line["account_id"], line["error_code"]) == (
        "DescribeFleets",
        "",
        "MissingAuthenticationTokenException",
    )
    assert datetime.fromisoformat(line["time"]).tzinfo == UTC


async def test_an_answer_is_given_again_until_anything_changes(http: Any, api: Any) -> None:
    """Describe calls are answered from memory, and yet every commit, of whatever process, is seen by the next one."""
    names = {"X-Amz-Target": "PhotonAdminProxyService.DescribeStacks"}
    asked = []
    describe = api.services.stacks.describe

    async def counting(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        return await describe(*args, **kwargs)

    api.services.stacks.describe = counting
    for _ in range(3):
        assert (await post(http, api, b"{}", **names))[1] == {"Stacks": []}
    assert len(asked) == 1
    create = {"X-Amz-Target": "PhotonAdminProxyService.CreateStack"}
    for number in range(3):
        assert (await post(http, api, json.dumps({"Name": f"stack-{number}"}).encode(), **create))[0] == 200
        found = (await post(http, api, b"{}", **names))[1]["Stacks"]
        assert [stack["Name"] for stack in found] == [f"stack-{n}" for n in range(number + 1)]
    assert len(asked) == 4


async def test_a_key_that_was_removed_opens_nothing_any_more(http: Any, api: Any) -> None:
    assert (await post(http, api, b"{}"))[0] == 200
    await api.services.access_keys.remove(KEY.access_key_id)
    status, body, _ = await post(http, api, b"{}")
    assert (status, body["__type"]) == (403, "UnrecognizedClientException")
