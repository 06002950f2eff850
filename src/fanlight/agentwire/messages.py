"""The messages, as frozen dataclasses with strict readers.

Host to agent: BeginSession, LaunchApplication, EndSession. Agent to host: Status. A reader accepts exactly the members
it knows, of exactly their types, and raises MalformedMessage for all else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from fanlight.agentwire import MAX_LINE_BYTES


class MalformedMessage(ValueError):
    """The peer sent something that is not a message of this protocol. The text names the member, never its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationToLaunch:
    name: str
    launch_path: str
    launch_parameters: str = ""
    working_directory: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginSession:
    """Give the instance to one user, once. Repeating it with the same session id changes nothing; another id is refused.

    `environment` is what the session's programs see (AppStream_* and locale); `stream_settings` are Selkies settings in
    Selkies' own spelling, final and locked; `session_context` becomes APPSTREAM_SESSION_CONTEXT at the first launch.
    """

    TYPE: ClassVar[str] = "begin_session"
    session_id: str
    user_id: str
    stream_view: str  # APP | DESKTOP
    environment: Mapping[str, str] = field(default_factory=dict)
    machine_environment: Mapping[str, str] = field(default_factory=dict)
    session_context: str = ""
    stream_settings: Mapping[str, str] = field(default_factory=dict)
    application: ApplicationToLaunch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchApplication:
    TYPE: ClassVar[str] = "launch_application"
    session_id: str
    launch_id: str  # a repeated id is ignored: a retry starts nothing twice
    application: ApplicationToLaunch


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSession:
    """Stop the session's programs and flush what has to be flushed. The instance is destroyed afterwards."""

    TYPE: ClassVar[str] = "end_session"
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`phase` is one of BOOTING, READY, STARTING_SESSION, IN_SESSION, ENDED, FAILED; `idle_seconds` counts from the last
    key or pointer event, -1 when unknown; `detail` is at most 500 characters for the log; `has_script_failed` when a
    script that the image runs at the start of a session did not do what it should."""

    TYPE: ClassVar[str] = "status"
    protocol: int
    runtime_version: str
    phase: str
    session_id: str | None = None
    idle_seconds: float = -1.0
    detail: str = ""
    has_script_failed: bool = False


Message = BeginSession | LaunchApplication | EndSession | Status
_BY_TYPE: dict[str, type[Any]] = {m.TYPE: m for m in (BeginSession, LaunchApplication, EndSession, Status)}


def encode(message: Message) -> bytes:
    """Return the message as one line. Raises MalformedMessage when it would be longer than the peer accepts."""
    line = json.dumps({"type": message.TYPE, **asdict(message)}, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise MalformedMessage(f"a {message.TYPE} message of {len(line)} bytes is over the limit of {MAX_LINE_BYTES}")
    return line


def decode(line: bytes) -> Message:
    """Return the message of one line. Raises MalformedMessage."""
    if len(line) > MAX_LINE_BYTES:
        raise MalformedMessage("line too long")
    try:
        members = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage("not JSON") from error
    if not isinstance(members, dict) or not isinstance(kind := members.pop("type", None), str) or kind not in _BY_TYPE:
        raise MalformedMessage("not a known message type")
    message: Message = _read(_BY_TYPE[kind], members)
    return message


_MAX_SECONDS = 1e12
_CHECKS: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    int: lambda value: type(value) is int,
    bool: lambda value: type(value) is bool,
    float: lambda value: type(value) in (int, float) and abs(value) < _MAX_SECONDS,  # NaN compares false
    str | None: lambda value: value is None or isinstance(value, str),
    Mapping[str, str]: lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
}


def _read(kind: type[Any], members: Mapping[str, Any]) -> Any:
    annotations = {f.name: f.type for f in fields(kind)}
    if unknown := set(members) - set(annotations):
        raise MalformedMessage(f"{len(unknown)} unknown members")
    values: dict[str, Any] = {}
    for name, value in members.items():
        check = _CHECKS.get(annotations[name])
        if check is not None and check(value):
            values[name] = value
        elif check is None and (value is None or isinstance(value, dict)):
            values[name] = None if value is None else _read(ApplicationToLaunch, value)
        else:
            raise MalformedMessage(f"member {name} has the wrong type")
    try:
        return kind(**values)
    except TypeError as error:
        raise MalformedMessage("a member is missing") from error
