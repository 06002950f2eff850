"""The audit log, `DATA_DIR/audit/audit.jsonl`: a JSON line for every API call, connection and loss of users' files.

It says who did what to which resource, from where, and how it ended. It holds names and ids only: of a request, just the
members of an allow-list. Session contexts, passwords, tokens, signatures and streaming URLs cannot get in. A disk that
is full costs lines, never requests: the log warns once and goes on when there is room again.

Who has no key cannot wash out what others did: of requests without a verified caller only some in a minute have lines of
their own; the rest of that minute is one line, with how many they were, of what kind, and from where.
"""

import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

FILE_SIZE_IN_BYTES = 50 * 1024 * 1024
FILES_KEPT = 10
STRANGERS_WINDOW_IN_SECONDS = 60.0
STRANGERS_LINES = 20  # in one window; a client with a wrong secret is still seen, and months fit into the files
MOST_ADDRESSES = 1000  # counted in one window
ADDRESSES_NAMED = 10  # in the summary, the busiest first
LONGEST_VALUE = 300  # characters; an ARN of the model is shorter than this unless somebody plays

# Attribute of a request → its name in the log. Names and ids of resources, nothing else.
RECORDED_MEMBERS: Mapping[str, str] = {
    "app_block_arn": "AppBlockArn",
    "app_block_builder_name": "AppBlockBuilderName",
    "application_id": "ApplicationId",
    "authentication_type": "AuthenticationType",
    "backup_id": "BackupId",
    "desired_state": "DesiredState",
    "ec2_image_id": "Ec2ImageId",
    "eula_id": "EulaId",
    "eula_ids": "EulaIds",
    "fleet_name": "FleetName",
    "image_arn": "ImageArn",
    "image_builder_name": "ImageBuilderName",
    "image_name": "ImageName",
    "instance_id": "InstanceId",
    "launch_profile_id": "LaunchProfileId",
    "name": "Name",
    "names": "Names",
    "owned_by": "OwnedBy",
    "principal_id": "PrincipalId",
    "resource_arn": "ResourceArn",
    "session_id": "SessionId",
    "stack_name": "StackName",
    "stream_id": "StreamId",
    "streaming_image_id": "StreamingImageId",
    "studio_component_id": "StudioComponentId",
    "studio_id": "StudioId",
    "studio_name": "StudioName",
    "user_id": "UserId",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """One request to the API. Unknown parts are empty: a request with a bad signature has no account."""

    request_id: str
    service: str
    operation: str
    protocol: str
    account_id: str
    access_key_id: str
    region: str
    source_address: str
    status: int
    error_code: str
    duration_in_ms: float
    resources: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A user's stream beginning or ending (`event`: connected, disconnected), seen by the gateway."""

    event: str
    session_id: str
    account_id: str
    region: str
    stack_name: str
    fleet_name: str
    user_id: str
    source_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesLost:
    """Files that a user saved in a session and that were given up; `count` and `size_in_bytes` as last known."""

    session_id: str
    account_id: str
    region: str
    stack_name: str
    user_id: str
    count: int
    size_in_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsLost:
    """Settings of applications that were not kept at the end of a session; `why` is a `SettingsLoss`."""

    session_id: str
    account_id: str
    region: str
    stack_name: str
    user_id: str
    why: str


def recorded_members(request: Any) -> dict[str, Any]:
    """Return what the log may know of a typed request: short names and ids by their wire names."""
    if request is None:
        return {}
    found: dict[str, Any] = {}
    for member in fields(request):
        # A member that hides itself from `repr` is a secret, whatever its name.
        if member.name not in RECORDED_MEMBERS or not member.repr:
            continue
        value = getattr(request, member.name)
        if isinstance(value, str):
            found[RECORDED_MEMBERS[member.name]] = value[:LONGEST_VALUE]
        elif isinstance(value, tuple) and value:
            found[RECORDED_MEMBERS[member.name]] = [str(item)[:LONGEST_VALUE] for item in value[:25]]
    return found


class AuditLog:
    """Appends lines to one file and rotates it by size. One process writes it."""

    def __init__(self, path: Path) -> None:
        """Open `path` when the first line comes; its directory is made with mode 0750."""
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._handler = _PrivateFile(path)
        self._strangers = _Strangers()

    def record_call(self, call: ApiCall) -> None:
        self._sum_up(self._strangers.ended(time.monotonic()))
        if call.account_id or self._strangers.admit(call, time.monotonic()):
            self._write("api", call)

    def record_connection(self, connection: Connection) -> None:
        self._sum_up(self._strangers.ended(time.monotonic()))
        self._write("connection", connection)

    def record_loss(self, loss: FilesLost) -> None:
        self._write("files-lost", loss)

    def record_settings_loss(self, loss: SettingsLost) -> None:
        self._write("settings-lost", loss)

    def close(self) -> None:
        self._sum_up(self._strangers.ended(math.inf))
        self._handler.close()

    def _write(self, kind: str, entry: ApiCall | Connection | FilesLost | SettingsLost) -> None:
        self._append(kind, {field: getattr(entry, field) for field in entry.__slots__})

    def _sum_up(self, summary: Mapping[str, Any] | None) -> None:
        if summary is not None:
            self._append("api-without-caller", summary)

    def _append(self, kind: str, entry: Mapping[str, Any]) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **entry}
        # The encoder escapes control characters, so no value can begin a line of its own.
        text = json.dumps(line, separators=(",", ":"))
        self._handler.handle(logging.LogRecord(__name__, logging.INFO, "", 0, text, None, None))


class _Strangers:
    """Requests whose caller nobody verified: how many had lines in this minute, and what the others were."""

    def __init__(self) -> None:
        self._began, self._lines, self._rest = -math.inf, 0, 0
        self._codes: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    def admit(self, call: ApiCall, now: float) -> bool:
        """Return whether this one has a line of its own; if not, it is counted."""
        if now - self._began >= STRANGERS_WINDOW_IN_SECONDS:
            self._began, self._lines = now, 0
        if self._lines < STRANGERS_LINES:
            self._lines += 1
            return True
        self._rest += 1
        self._codes[call.error_code] += 1
        if call.source_address in self._addresses or len(self._addresses) < MOST_ADDRESSES:
            self._addresses[call.source_address] += 1
        return False

    def ended(self, now: float) -> Mapping[str, Any] | None:
        """Return the summary of a minute that is over and begin anew; None when nothing is to be said."""
        if not self._rest or now - self._began < STRANGERS_WINDOW_IN_SECONDS:
            return None
        summary = {
            "count": self._rest,
            "error_codes": dict(self._codes.most_common(ADDRESSES_NAMED)),
            "source_addresses": dict(self._addresses.most_common(ADDRESSES_NAMED)),
        }
        self._rest = 0
        self._codes.clear()
        self._addresses.clear()
        return summary


class _PrivateFile(RotatingFileHandler):
    """A rotating file that only its owner reads, and that never fails its caller."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_SIZE_IN_BYTES, backupCount=FILES_KEPT, encoding="utf-8", delay=True)
        self._is_failing = False

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        failing_before, self._is_failing = self._is_failing, False
        super().emit(record)
        if failing_before and not self._is_failing:
            log.warning("the audit log is written again")
        elif self._is_failing and not failing_before:
            log.warning("the audit log cannot be written; calls go on unrecorded", extra={"path": self.baseFilename})

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the name is logging's
        self._is_failing = True
        if self.stream is not None:
            # A failed write leaves a buffer that would fail again for ever; open anew next time.
            stream, self.stream = self.stream, None
            with suppress(OSError):
                stream.close()
