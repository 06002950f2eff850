"""Image requests on the wire, and what a host makes of them. The guest is hostile."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from fanlight.agentwire import MAX_LINE_BYTES
from fanlight.agentwire.image_requests import (
    MAX_APPLICATIONS,
    MAX_ICON_BYTES,
    MAX_PARTS,
    PART_CHARACTERS,
    ImageRequest,
    PartsOfRequests,
    RequestedApplication,
    image_request_of,
)
from fanlight.agentwire.messages import ImageRequestPart, MalformedMessage, decode, encode
from fanlight.domain.errors import AgentUnreachable, DomainError
from fanlight.domain.image_requests import FAILED, ImageAnswer
from fanlight.domain.image_requests import ImageRequest as Asked
from fanlight.reconcilers.image_requests import BROKEN, answer_image_requests

LARGEST_ICON = base64.b64encode(b"\0" * MAX_ICON_BYTES).decode()
EDITOR = RequestedApplication(name="ed", display_name="Éditeur 🖋", launch_path="/usr/bin/ed", icon=LARGEST_ICON)
REQUEST = ImageRequest(request_id="r-1", name="drawing-1", tags={"team": "café"}, applications=(EDITOR,))


def test_the_largest_request_passes_through_lines() -> None:
    """Every part fits into a line, whatever letters a text has, and nothing is changed on the way."""
    escaped = replace(EDITOR, launch_parameters='"\\\n\0é🖋' * 600)
    whole = replace(
        REQUEST, applications=tuple(replace(escaped, name=f"{n}", icon=LARGEST_ICON) for n in range(MAX_APPLICATIONS))
    )
    parts = PartsOfRequests()
    taken = [parts.take(cast("ImageRequestPart", decode(encode(part)))) for part in whole.parts()]
    assert all(len(encode(part)) <= MAX_LINE_BYTES for part in whole.parts())
    assert taken[:-1] == [None] * (len(taken) - 1)
    assert taken[-1] == whole


def test_a_request_that_no_host_takes_is_refused_before_it_is_sent() -> None:
    huge = replace(EDITOR, icon="A" * 200_000)
    with pytest.raises(MalformedMessage, match="over the limit"):
        list(replace(REQUEST, applications=(huge,) * MAX_APPLICATIONS).parts())


def test_a_request_begun_anew_takes_the_place_of_half_a_one() -> None:
    parts = PartsOfRequests()
    first, *_ = REQUEST.parts()
    assert parts.take(first) is None
    assert [parts.take(part) for part in REQUEST.parts()][-1] == REQUEST


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": 1},
        {"number": -1},
        {"total": 0},
        {"total": -3},
        {"total": MAX_PARTS + 1},
        {"request_id": ""},
        {"request_id": "r" * 65},
        {"text": "x" * (PART_CHARACTERS + 1)},
    ],
    ids=str,
)
def test_parts_out_of_turn_or_measure_are_refused(wrong: dict[str, object]) -> None:
    members: dict[str, object] = {"request_id": "r-1", "number": 0, "total": 2, "text": "x"}
    with pytest.raises(MalformedMessage):
        PartsOfRequests().take(ImageRequestPart(**(members | wrong)))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"number": 2}, {"number": 1, "request_id": "r-2"}, {"number": 1, "total": 3}])
def test_a_later_part_must_be_the_next_of_the_same_request(wrong: dict[str, object]) -> None:
    parts = PartsOfRequests()
    members: dict[str, object] = {"request_id": "r-1", "total": 4, "text": "x"}
    parts.take(ImageRequestPart(**(members | {"number": 0})))  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage):
        parts.take(ImageRequestPart(**(members | wrong)))  # type: ignore[arg-type]


def _text(**changes: object) -> str:
    (part,) = replace(REQUEST, applications=(replace(EDITOR, icon=""),)).parts()
    return json.dumps(json.loads(part.text) | changes)


def _application(**changes: object) -> dict[str, object]:
    return {"name": "a", "display_name": "A", "launch_path": "/a"} | changes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        "[]",
        _text(applications=None),
        _text(applications={}),
        _text(applications=[_application()] * (MAX_APPLICATIONS + 1)),
        _text(applications=[7]),
        _text(applications=[_application(path="/b")]),
        _text(applications=[_application(name=7)]),
        _text(applications=[_application(launch_path="/" * 4_097)]),
        _text(applications=[_application(icon="no base 64")]),
        _text(applications=[_application(icon=base64.b64encode(b"\0" * (MAX_ICON_BYTES + 1)).decode())]),
        _text(is_dry_run=1),
        _text(tags=["a"]),
        _text(tags={"a": 1}),
        _text(tags={str(n): "" for n in range(51)}),
        _text(description="x" * 4_097),
        _text(extra=1),
    ],
    ids=lambda text: text[-40:],
)
def test_what_is_no_image_request_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        image_request_of(text)


class Channel:
    """One listener's end of a channel on which these requests come."""

    def __init__(self, *requests: Asked) -> None:
        self._requests = requests
        self.answers: list[tuple[str, ImageAnswer]] = []
        self.is_gone = False

    async def image_requests(self) -> AsyncIterator[Asked]:
        for request in self._requests:
            yield request

    async def answer(self, request: Asked, answer: ImageAnswer) -> None:
        self.answers.append((request.request_id, answer))
        if self.is_gone:
            raise AgentUnreachable(request.instance_id)


class Handler:
    async def create_image_from_builder(self, request: Asked) -> ImageAnswer:
        if request.name == "broken":
            raise RuntimeError("a fault")
        if request.name == "away":
            raise DomainError("the store is away")
        return ImageAnswer()


@pytest.mark.parametrize("is_gone", [False, True])
async def test_every_request_is_answered_whatever_becomes_of_it(is_gone: bool) -> None:  # noqa: FBT001
    asked = [Asked(instance_id="i-1", request_id=name, name=name) for name in ("broken", "away", "fine")]
    channel = Channel(*asked)
    channel.is_gone = is_gone
    await answer_image_requests(channel, Handler())
    assert channel.answers == [
        ("broken", BROKEN),
        ("away", ImageAnswer(status=FAILED, message="the store is away")),
        ("fine", ImageAnswer(status=0, message="Success")),
    ]
