"""The messages, as frozen dataclasses with strict readers.

Host to agent: BeginSession, LaunchApplication, RefreshStorage, EndSession, Maintain, RunScript; to an image builder's also
PrepareSnapshot and ImageAnswer. Agent to host: Status; an image builder's also ImageRequestPart (see `image_requests`). A reader accepts
exactly the members it knows, of exactly their types, and raises MalformedMessage for all else.
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
class StorageMount:
    """One place of a user's files: WebDAV at `socket` (a name in STORAGE_SOCKETS), opened by `token`.

    `kind` is HOMEFOLDERS, GOOGLE_DRIVE, ONE_DRIVE (a folder with the name `folder` in the user's MyFiles) or
    APPLICATION_SETTINGS (no folder: an archive that is unpacked into the home before the first application starts and
    packed again at the end, `max_bytes` long at most, 0: no limit). A door that does not answer holds up no session.
    """

    kind: str
    socket: str
    token: str
    folder: str = ""
    max_bytes: int = 0

    def __repr__(self) -> str:
        return f"StorageMount({self.kind!r}, {self.folder!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginSession:
    """Give a seat of the instance to one user, once. Repeating it with the same session id changes nothing.

    The agent chooses the seat and tells it in its report. One session more than the instance has places at a time is
    refused, and so is one that has ended.

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
    storage: tuple[StorageMount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshStorage:
    """Look anew at what is in the session's folders: somebody else has changed it."""

    TYPE: ClassVar[str] = "refresh_storage"
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchApplication:
    TYPE: ClassVar[str] = "launch_application"
    session_id: str
    launch_id: str  # a repeated id is ignored: a retry starts nothing twice
    application: ApplicationToLaunch


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSession:
    """Stop the session's programs, flush what has to be flushed, and leave nothing of it in the instance.

    While files remain to be sent the phase is FLUSHING and the report counts them; it is ENDED only when none is left.
    """

    TYPE: ClassVar[str] = "end_session"
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintain:
    """Do one piece of work on the instance, once. Repeating it with the same work id changes nothing.

    `task`: `look` for updates of packages, `upgrade` everything and leave nothing that an image should not have, or
    `check` that each of the applications starts, in the session that was begun. An instance does only what the host
    launched it for, and one piece of work at a time; what it does not do is FAILED in its report.
    """

    TYPE: ClassVar[str] = "maintain"
    work_id: str
    task: str
    applications: tuple[ApplicationToLaunch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScript:
    """Run one script on a workstation, once, told like other work. Repeating it with the same work id changes nothing.

    `session_id` "": as root, before anybody comes; else as the user of that session, at its display. `script` is the text;
    what begins with "#!" says what runs it, anything else is for a shell. `variables` are in its environment.
    """

    TYPE: ClassVar[str] = "run_script"
    work_id: str
    script: str
    session_id: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkReport:
    """`phase` is one of RUNNING, DONE, FAILED; `progress` says in words how far it is, `detail` why it failed.

    `updates` is how many packages there are updates for, `problems` a sentence for each application that does not start.
    """

    work_id: str
    phase: str
    progress: str = ""
    detail: str = ""
    updates: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSnapshot:
    """End what runs and take away what must not be in an image; then the phase is PREPARED, and the instance may stop.

    Repeating it changes nothing. A prepared instance takes no session any more; its next start makes it a builder again.
    """

    TYPE: ClassVar[str] = "prepare_snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequestPart:
    """One of `total` pieces, counted from 0, of the text of an image request."""

    TYPE: ClassVar[str] = "image_request_part"
    request_id: str
    number: int
    total: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnswer:
    """What the Image Assistant prints: `status` is its exit code, 0 for success."""

    TYPE: ClassVar[str] = "image_answer"
    request_id: str
    status: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A folder whose names are being read, for so long already that its user wonders: `name`, empty for the uppermost one.

    `files` of them are there so far, -1 when that is not known; `of` are all, -1 while those are not known.
    """

    name: str
    files: int = -1
    of: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageReport:
    """`state` is MOUNTING, MOUNTED, or OFFLINE (it does not answer, or what is saved cannot be sent; tried again).

    `unsent_files` and `unsent_bytes` are what was saved in the instance and has not arrived yet.
    """

    kind: str
    state: str
    unsent_files: int = 0
    unsent_bytes: int = 0
    detail: str = ""
    opening: Opening | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """`phase` is one of STARTING_SESSION, IN_SESSION, FLUSHING, ENDED, FAILED; `seat` says where its stream is.

    `idle_seconds` counts from the last key or pointer event, -1 when unknown; `detail` is at most 500 characters for
    the log; `has_script_failed` when a script that the image runs at the start of a session did not do what it should.
    """

    session_id: str
    seat: int
    phase: str
    idle_seconds: float = -1.0
    detail: str = ""
    has_script_failed: bool = False
    storage: tuple[StorageReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`phase` is the instance's: BOOTING, READY (it can take sessions), PREPARED (see PrepareSnapshot) or FAILED.

    `detail` is as in SessionReport.

    `sessions` has every session that was begun, the newest last; those that ended long ago are left out. `work` is what
    the host asked for last.
    """

    TYPE: ClassVar[str] = "status"
    protocol: int
    runtime_version: str
    phase: str
    sessions: tuple[SessionReport, ...] = ()
    detail: str = ""
    work: WorkReport | None = None


Message = (
    BeginSession
    | LaunchApplication
    | RefreshStorage
    | EndSession
    | Maintain
    | RunScript
    | PrepareSnapshot
    | ImageAnswer
    | ImageRequestPart
    | Status
)
_BY_TYPE: dict[str, type[Any]] = {
    m.TYPE: m
    for m in (
        BeginSession, LaunchApplication, RefreshStorage, EndSession, Maintain, RunScript, PrepareSnapshot, ImageAnswer,
        ImageRequestPart, Status,
    )
}  # fmt: skip


def encode(message: Message) -> bytes:
    """Return the message as one line. Raises MalformedMessage when it would be longer than the peer accepts."""
    members = asdict(message)
    if not members.get("storage", True):
        del members["storage"]  # agents of before protocol 4 do not know it
    line = json.dumps({"type": message.TYPE, **members}, separators=(",", ":")).encode() + b"\n"
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
    message: Message = read(_BY_TYPE[kind], members)
    return message


_MAX_SECONDS = 1e12
_CHECKS: dict[Any, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    int: lambda value: type(value) is int,
    bool: lambda value: type(value) is bool,
    float: lambda value: type(value) in (int, float) and abs(value) < _MAX_SECONDS,  # NaN compares false
    Mapping[str, str]: lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
}
_PARTS: dict[Any, Callable[[Any], Any]] = {
    ApplicationToLaunch: lambda value: read(ApplicationToLaunch, value),
    ApplicationToLaunch | None: lambda value: None if value is None else read(ApplicationToLaunch, value),
    tuple[ApplicationToLaunch, ...]: lambda value: tuple(
        read(ApplicationToLaunch, each) for each in _checked_list(value)
    ),
    tuple[str, ...]: lambda value: tuple(_checked_text(each) for each in _checked_list(value)),
    WorkReport | None: lambda value: None if value is None else read(WorkReport, value),
    Opening | None: lambda value: None if value is None else read(Opening, value),
    tuple[StorageMount, ...]: lambda value: tuple(read(StorageMount, each) for each in _checked_list(value)),
    tuple[StorageReport, ...]: lambda value: tuple(read(StorageReport, each) for each in _checked_list(value)),
    tuple[SessionReport, ...]: lambda value: tuple(read(SessionReport, each) for each in _checked_list(value)),
}


def read(kind: type[Any], members: Any) -> Any:
    """Return the members as the dataclass. Raises MalformedMessage."""
    if not isinstance(members, dict):
        raise MalformedMessage(f"not the members of a {kind.__name__}")
    annotations = {f.name: f.type for f in fields(kind)}
    if unknown := set(members) - set(annotations):
        raise MalformedMessage(f"{len(unknown)} unknown members")
    values: dict[str, Any] = {}
    for name, value in members.items():
        if (part := _PARTS.get(annotations[name])) is not None:
            values[name] = part(value)
        elif _CHECKS[annotations[name]](value):
            values[name] = value
        else:
            raise MalformedMessage(f"member {name} has the wrong type")
    try:
        return kind(**values)
    except TypeError as error:
        raise MalformedMessage("a member is missing") from error


def _checked_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedMessage("not a list")
    return value


def _checked_text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedMessage("not a text")
    return value
