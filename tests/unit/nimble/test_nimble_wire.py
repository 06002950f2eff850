"""REST-JSON as old clients speak it, byte by byte: paths, queries, headers, bodies, signatures, errors."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from fanlight.api.nimble.errors import WIRE_CODES
from fanlight.api.spec.nimble_model import nimble_model, nimble_table
from fanlight.domain import errors as domain
from nimble_rig import KEY, NEW_STUDIO, Nimble, Studio

V = "/2020-08-01"


async def send(
    nimble: Nimble,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    service: str = "nimble",
    signed_path: str | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send exactly this request line, signed by botocore for what it takes `signed_path` for."""
    request = AWSRequest(method, nimble.url + (signed_path or path), data=body, headers=dict(headers or {}))
    SigV4Auth(Credentials(KEY.access_key_id, KEY.secret_access_key), service, "us-east-1").add_auth(request)
    url = URL(nimble.url + path, encoded=True)
    async with (
        aiohttp.ClientSession(skip_auto_headers=("Content-Type",)) as http,
        http.request(method, url, data=body, headers=dict(request.headers)) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


def error_of(answer: tuple[int, Mapping[str, str], bytes]) -> tuple[int, str]:
    status, headers, body = answer
    assert headers["x-amzn-requestid"]
    assert set(json.loads(body)) <= {"message", "context"}
    return status, headers["x-amzn-errortype"]


async def test_a_label_is_split_off_before_it_is_decoded(studio: Studio) -> None:
    encoded = quote(studio.studio_id, safe="")
    assert "%3A" in encoded
    for spelled in (encoded, encoded.replace("%3A", "%3a"), studio.studio_id):
        status, headers, body = await send(studio.nimble, "GET", f"{V}/studios/{spelled}")
        assert status == 200, body
        assert headers["Content-Type"] == "application/json"
        assert json.loads(body)["studio"]["studioId"] == studio.studio_id


async def test_an_arn_is_one_label_with_its_slash(studio: Studio) -> None:
    found = await send(studio.nimble, "GET", f"{V}/studios/{quote(studio.studio_id, safe='')}")
    arn = json.loads(found[2])["studio"]["arn"]
    path = f"{V}/tags/{quote(arn, safe='')}"
    status, _, body = await send(studio.nimble, "POST", path, b'{"tags":{"k":"v","j":"w","l":"x"}}')
    assert (status, body) == (204, b"")
    status, _, body = await send(studio.nimble, "DELETE", f"{path}?tagKeys=k&tagKeys=j")
    assert (status, body) == (204, b"")
    assert json.loads((await send(studio.nimble, "GET", path))[2]) == {"tags": {"l": "x"}}
    # With the slash as it is, it would be two labels: there is no such path.
    assert error_of(await send(studio.nimble, "GET", f"{V}/tags/{arn}")) == (404, "UnknownOperationException")


async def test_an_empty_id_is_no_list(studio: Studio) -> None:
    encoded = quote(studio.studio_id, safe="")
    for method, path in [
        ("GET", f"{V}/studios/"),
        ("GET", f"{V}/studios//studio-components"),
        ("GET", f"{V}/studios/{encoded}/studio-components/"),
        ("DELETE", f"{V}/studios/{encoded}/launch-profiles/"),
        ("GET", f"{V}/eulas/"),
        ("GET", f"{V}/tags/"),
    ]:
        assert error_of(await send(studio.nimble, method, path)) == (400, "ValidationException"), path


async def test_bodies_that_clients_send_when_there_is_nothing_to_say(studio: Studio) -> None:
    path = f"{V}/studios/{quote(studio.studio_id, safe='')}"
    for body in (b"", b"{}"):
        assert (await send(studio.nimble, "PATCH", path, body))[0] == 200
        await studio.nimble.settle()


async def test_a_json_body_needs_no_content_type_and_may_have_any(nimble: Nimble) -> None:
    body = json.dumps(NEW_STUDIO).encode()
    status, _, answer = await send(nimble, "POST", f"{V}/studios", body)
    assert status == 200
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert error_of(await send(nimble, "POST", f"{V}/studios", body, headers=form)) == (409, "ConflictException")
    studio = json.loads(answer)["studio"]
    assert studio["createdAt"].endswith("Z")
    assert isinstance(studio["createdAt"], str)


async def test_the_client_token_is_a_header_and_optional(nimble: Nimble) -> None:
    body = json.dumps(NEW_STUDIO).encode()
    token = {"X-Amz-Client-Token": "t"}
    first = json.loads((await send(nimble, "POST", f"{V}/studios", body, headers=token))[2])
    again = json.loads((await send(nimble, "POST", f"{V}/studios", body, headers=token))[2])
    assert first["studio"]["studioId"] == again["studio"]["studioId"]
    # In the body it is no token, so this is a second studio of the name.
    body = json.dumps({**NEW_STUDIO, "clientToken": "t", "X-Amz-Client-Token": "t"}).encode()
    assert error_of(await send(nimble, "POST", f"{V}/studios", body)) == (409, "ConflictException")
    long = {"X-Amz-Client-Token": "t" * 65}
    assert error_of(await send(nimble, "POST", f"{V}/studios", body, headers=long)) == (400, "ValidationException")


async def test_a_body_cannot_say_what_stands_in_the_path(studio: Studio) -> None:
    path = f"{V}/studios/{quote(studio.studio_id, safe='')}"
    status, _, body = await send(studio.nimble, "PATCH", path, b'{"studioId":"us-east-1:stid-other"}')
    assert (status, json.loads(body)["studio"]["studioId"]) == (200, studio.studio_id)


async def test_what_cannot_be_read_is_a_validation_exception(studio: Studio) -> None:
    encoded = quote(studio.studio_id, safe="")
    for method, path, body in [
        ("POST", f"{V}/studios", b"{"),
        ("POST", f"{V}/studios", b"[]"),
        ("POST", f"{V}/studios", b'{"studioName":1}'),
        ("POST", f"{V}/studios", b"\xff"),
        ("GET", f"{V}/studios/%ff", b""),
        ("GET", f"{V}/studios/%00", b""),
        ("GET", f"{V}/studios/{encoded}/studio-components?maxResults=x", b""),
        ("GET", f"{V}/studios/{encoded}/studio-components?maxResults=1.5", b""),
        ("GET", f"{V}/studios/{encoded}/studio-components?maxResults=101", b""),
        ("GET", f"{V}/studios/{encoded}/studio-components?maxResults=0", b""),
        ("GET", f"{V}/studios/{encoded}/studio-components?maxResults=1&maxResults=2", b""),
        ("GET", f"{V}/studios/{encoded}/studio-components?states=GONE", b""),
        ("GET", f"{V}/studios/{encoded}/studio-components?maxResults=" + "9" * 5000, b""),
        ("DELETE", f"{V}/tags/x", b""),
    ]:
        assert error_of(await send(studio.nimble, method, path, body)) == (400, "ValidationException"), path


async def test_paths_and_methods_that_there_are_not(nimble: Nimble) -> None:
    for method, path in [
        ("PUT", f"{V}/studios"),
        ("HEAD", f"{V}/studios"),
        ("GET", f"{V}/nothing"),
        ("GET", f"{V}/studios/a/b/c/d/e/f"),
        ("GET", V),
        ("GET", "/studios"),
    ]:
        status, headers, _ = await send(nimble, method, path)
        assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException"), path


async def test_the_signature_is_of_the_path_encoded_twice_and_for_nimble(studio: Studio) -> None:
    path = f"{V}/studios/{quote(studio.studio_id, safe='')}"
    assert (await send(studio.nimble, "GET", path))[0] == 200
    for wrong in (
        await send(studio.nimble, "GET", path, signed_path=f"{V}/studios/us-east-1%253Astid"),
        await send(studio.nimble, "GET", path, service="appstream"),
        await send(studio.nimble, "GET", f"{path}?nextToken=x", signed_path=path),
    ):
        assert error_of(wrong) == (403, "InvalidSignatureException")
    async with aiohttp.ClientSession() as http, http.get(studio.nimble.url + f"{V}/studios") as answer:
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")


async def test_a_token_that_is_not_signed_is_refused(nimble: Nimble) -> None:
    """Somebody on the way could make two requests one, or one two."""
    body = json.dumps(NEW_STUDIO).encode()
    request = AWSRequest("POST", f"{nimble.url}{V}/studios", data=body)
    SigV4Auth(Credentials(KEY.access_key_id, KEY.secret_access_key), "nimble", "us-east-1").add_auth(request)
    headers = {**dict(request.headers), "X-Amz-Client-Token": "t"}
    async with (
        aiohttp.ClientSession(skip_auto_headers=("Content-Type",)) as http,
        http.post(f"{nimble.url}{V}/studios", data=body, headers=headers) as answer,
    ):
        assert answer.status == 403


STATUS = {
    "ValidationException": 400,
    "ServiceQuotaExceededException": 402,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "ConflictException": 409,
    "ThrottlingException": 429,
    "InternalServerErrorException": 500,
}
CODE_OF = {
    domain.InvalidCombination("x"): "ValidationException",
    domain.InvalidPageToken(): "ValidationException",
    domain.NotSupported("x"): "ValidationException",
    domain.LimitExceeded("x"): "ServiceQuotaExceededException",
    domain.NotPermitted("x"): "AccessDeniedException",
    domain.NotFound("studio", "s"): "ResourceNotFoundException",
    domain.AlreadyExists("studio", "s"): "ConflictException",
    domain.InUse("studio", "s", "x"): "ConflictException",
    domain.NotAvailable("studio", "s", "x"): "ConflictException",
    domain.TransitionRefused("studio", "a", "b"): "ConflictException",
    domain.ChangedMeanwhile("studio", "s"): "ConflictException",
    domain.DriverUnavailable("x"): "InternalServerErrorException",
    domain.StoreUnavailable("x"): "InternalServerErrorException",
}


async def test_each_error_has_its_code_status_header_and_members(
    nimble: Nimble, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = list(CODE_OF)

    async def fail(*_: Any) -> None:
        raise raised[0]

    # The one way in which a handler can be made to raise everything: all errors are declared here, none is undeclared.
    monkeypatch.setattr(type(nimble.services.nimble.studios), "page", fail)
    monkeypatch.setattr("fanlight.api.dispatch.ALWAYS_ANSWERED", (domain.DomainError,))
    while raised:
        status, headers, body = await send(nimble, "GET", f"{V}/studios")
        error = raised.pop(0)
        assert (headers["x-amzn-errortype"], status) == (CODE_OF[error], STATUS[CODE_OF[error]])
        said = json.loads(body)
        assert said["message"]
        assert said.get("context") == ({"resourceId": error.name} if hasattr(error, "name") else None)
        assert "code" not in said


async def test_what_nobody_expected_is_our_failure_and_nothing_of_it_is_shown(
    nimble: Nimble, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(type(nimble.services.nimble.studios), "page", fail)
    answer = await send(nimble, "GET", f"{V}/studios")
    assert error_of(answer) == (500, "InternalServerErrorException")
    assert b"secret" not in answer[2]


def test_the_codes_are_the_seven_of_the_model_and_every_row_fits_every_operation() -> None:
    model = nimble_model()
    assert {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in model.error_shapes} == STATUS
    for name in model.operation_names:
        declared = {shape.name for shape in model.operation_model(name).error_shapes}
        assert declared >= set(STATUS) - {"ServiceQuotaExceededException"}
        for codes in WIRE_CODES.values():
            assert declared & set(codes)


def test_every_operation_has_a_path_of_its_own() -> None:
    from fanlight.api.protocol.rest_json import Paths

    model = nimble_model()
    paths = Paths({name: model.operation_model(name) for name in model.operation_names})
    for name, entry in nimble_table()["operations"].items():
        labels = {part[1:-1]: f"{part[1:-1]}%2F1" for part in entry["uri"].split("/") if part.startswith("{")}
        found = paths.find(entry["method"], entry["uri"].format(**labels))
        assert found == (name, tuple(labels.items()))
