"""What old clients read of answers, byte by byte, and which errors make them ask again."""

import asyncio
import base64
import json
import logging
import re
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from test_nimble_session_plan import add, backup_of
from test_nimble_wire import STATUS, V, error_of, send

from fanlight.api.nimble.errors import WIRE_CODES
from fanlight.domain import errors as domain
from nimble_rig import KEY, NEW_STUDIO, Nimble, Studio, ask, model_session

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def at(studio: Studio) -> str:
    return f"{V}/studios/{quote(studio.studio_id, safe='')}"


async def raw(nimble: Nimble, method: str, path: str, head: str = "", body: bytes = b"") -> bytes:
    """Send a signed request with these lines of headers alone, and return all of the answer."""
    request = AWSRequest(method, nimble.url + path, data=body)
    SigV4Auth(Credentials(KEY.access_key_id, KEY.secret_access_key), "nimble", "us-east-1").add_auth(request)
    place = nimble.url.removeprefix("http://")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {place}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    reader, writer = await asyncio.open_connection(*place.split(":"))
    writer.write("\r\n".join(lines).encode() + f"\r\n{head}\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("head", ["", "Content-Length: 0\r\n"], ids=["no length", "length 0"])
async def test_put_and_delete_come_without_a_body(studio: Studio, head: str) -> None:
    answer = await raw(studio.nimble, "PUT", f"{at(studio)}/sso-configuration", head)
    assert answer.startswith(b"HTTP/1.1 400 ")  # there is nothing to repair, which was understood
    assert b"ValidationException" in answer
    assert (await raw(studio.nimble, "DELETE", at(studio), head)).startswith(b"HTTP/1.1 200 ")


async def test_what_has_nothing_to_show_is_an_empty_object(nimble: Nimble) -> None:
    assert json.loads((await send(nimble, "GET", f"{V}/studios"))[2]) == {"studios": []}
    made = await ask(nimble.client().create_studio, **NEW_STUDIO)
    await nimble.settle()
    path = f"{V}/studios/{quote(made['studio']['studioId'], safe='')}/membership"
    member = {"identityStoreId": "d-1", "members": [{"principalId": "a:b/c é", "persona": "ADMINISTRATOR"}]}
    for method, where, body in (
        ("POST", path, json.dumps(member).encode()),
        ("DELETE", f"{path}/{quote('a:b/c é', safe='')}", b""),
    ):
        status, _, said = await send(nimble, method, where, body)
        assert (status, said) == (200, b"{}")


async def test_times_are_texts_of_rfc_3339_everywhere(studio: Studio) -> None:
    session = await add(studio, stop_at=studio.nimble.clock.now())
    backup = await backup_of(studio, session)
    component, profile = await studio.component(), await studio.profile()
    await ask(
        studio.api.create_streaming_session_stream,
        studioId=studio.studio_id, sessionId=session.session_id, expirationInSeconds=60,
    )  # fmt: skip
    paths = [
        "",
        f"/streaming-sessions/{session.session_id}",
        f"/streaming-session-backups/{backup.backup_id}",
        f"/studio-components/{component}",
        f"/launch-profiles/{profile}",
        f"/launch-profiles/{profile}/details",
    ]
    seen = set()
    for path in paths:
        answer = json.loads((await send(studio.nimble, "GET", at(studio) + path))[2])
        for name, value in times_in(answer):
            assert isinstance(value, str), (path, name)
            assert RFC_3339.fullmatch(value), (path, name, value)
            seen.add(name)
    assert seen == {"createdAt", "updatedAt", "startedAt", "stopAt"}


def times_in(tree: Any) -> list[tuple[str, Any]]:
    if isinstance(tree, list):
        return [found for one in tree for found in times_in(one)]
    if not isinstance(tree, dict):
        return []
    own = [(name, value) for name, value in tree.items() if name.endswith("At")]
    return own + [found for value in tree.values() for found in times_in(value)]


async def test_a_repeated_member_of_a_query_is_a_list(studio: Studio) -> None:
    await studio.component()
    for query, count in (
        ("types=CUSTOM&types=COMPUTE_FARM&states=READY&states=DELETED", 1),
        ("types=COMPUTE_FARM&types=LICENSE_SERVICE", 0),
        ("types=CUSTOM%2CCOMPUTE_FARM", None),
        ("maxResults=1&maxResults=1", None),
        ("unknown=1&unknown=2", 1),
    ):
        answer = await send(studio.nimble, "GET", f"{at(studio)}/studio-components?{query}")
        if count is None:
            assert error_of(answer) == (400, "ValidationException"), query
        else:
            assert len(json.loads(answer[2])["studioComponents"]) == count, query


ASKED_AGAIN = {"ThrottlingException", "InternalServerErrorException"}
ONE_OF_EACH: dict[str, domain.DomainError] = {
    "ValidationException": domain.InvalidCombination("x"),
    "ServiceQuotaExceededException": domain.LimitExceeded("x"),
    "AccessDeniedException": domain.NotPermitted("x"),
    "ResourceNotFoundException": domain.NotFound("studio", "s"),
    "ConflictException": domain.InUse("studio", "s", "x"),
    "InternalServerErrorException": domain.StoreUnavailable("x"),
}


@pytest.mark.parametrize("code", ONE_OF_EACH)
@pytest.mark.parametrize("mode", ["legacy", "standard"])
async def test_clients_ask_again_after_what_passes_and_after_nothing_else(
    nimble: Nimble, monkeypatch: pytest.MonkeyPatch, code: str, mode: str
) -> None:
    asked = []

    async def fail(_: object, call: Any, *__: object) -> None:
        asked.append(call.token)
        raise ONE_OF_EACH[code]

    monkeypatch.setattr(type(nimble.services.nimble.studios), "create", fail)
    monkeypatch.setattr("fanlight.api.dispatch.ALWAYS_ANSWERED", (domain.DomainError,))
    client = model_session(nimble.models).client(
        "nimble", endpoint_url=nimble.url, config=Config(retries={"mode": mode, "total_max_attempts": 2}),
        aws_access_key_id=KEY.access_key_id, aws_secret_access_key=KEY.secret_access_key, region_name="us-east-1",
    )  # fmt: skip
    with pytest.raises(ClientError) as refused:
        await ask(client.create_studio, **NEW_STUDIO)
    assert type(refused.value).__name__ == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == STATUS[code]
    assert len(asked) == (2 if code in ASKED_AGAIN else 1)
    assert len(set(asked)) == 1  # with the same token


def test_the_table_of_errors_is_whole() -> None:
    """Throttling is refused before a handler is asked: `test_nimble_rights` has it."""
    assert {*ONE_OF_EACH, "ThrottlingException"} == set(STATUS)
    assert {codes[-1] for codes in WIRE_CODES.values()} <= set(STATUS)


async def test_a_session_token_of_temporary_credentials_goes_into_no_log(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = base64.b64encode(b"token of temporary credentials").decode()
    await send(studio.nimble, "GET", at(studio), headers={"X-Amz-Security-Token": secret})
    own = [record for record in caplog.records if not record.name.startswith(("botocore", "aiosqlite"))]
    assert secret not in f"{[(one.getMessage(), vars(one)) for one in own]}{studio.nimble.audit_file.read_text()}"
