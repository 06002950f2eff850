"""What the simulated engine remembers: one JSON file for each instance, replaced whole, so that a crash leaves old or new."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fanlight.domain.file_systems import FileSystemMount
from fanlight.domain.ports import InstanceRole, InstanceSpec, Power


@dataclass(slots=True, kw_only=True)
class SessionRecord:
    """`begun` are the members of the BeginSession message that the guest obeys."""

    seat: int
    begun: dict[str, Any]
    has_ended: bool = False
    flushes: bool = False  # its programs are gone, and what its user saved is still to be sent
    launched: list[str] = field(default_factory=list)  # display lines of applications
    launch_ids: list[str] = field(default_factory=list)
    typed: str = ""

    @property
    def session_id(self) -> str:
        return str(self.begun["session_id"])


@dataclass(slots=True, kw_only=True)
class Record:
    """`launched_at` is epoch seconds; the sessions are in the order of their beginning."""

    spec: InstanceSpec
    launched_at: float
    boot_seconds: float
    power: Power = Power.RUNNING
    address: str = ""  # "": no network interface
    subnet_id: str = ""
    sessions: list[SessionRecord] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)  # names, the oldest first

    def session(self, session_id: str) -> SessionRecord | None:
        return next((session for session in self.sessions if session.session_id == session_id), None)


class Records:
    """Directory DATA_DIR/simulated/instances."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for unfinished in self._directory.glob("*.new"):
            unfinished.unlink()

    def save(self, record: Record) -> None:
        path = self._path(record.spec.instance_id)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(record)), encoding="utf-8")
        fresh.replace(path)

    def remove(self, instance_id: str) -> None:
        self._path(instance_id).unlink(missing_ok=True)

    def all(self) -> Iterator[Record]:
        for path in sorted(self._directory.glob("*.json")):
            members = json.loads(path.read_text(encoding="utf-8"))
            wished = members["spec"]
            for name in ("subnet_ids", "security_group_ids"):
                wished[name] = tuple(wished.get(name, ()))
            wished["file_systems"] = tuple(FileSystemMount(**one) for one in wished.get("file_systems", ()))
            wished["role"] = InstanceRole(wished.get("role", InstanceRole.STREAMING))
            yield Record(
                spec=InstanceSpec(**wished),
                launched_at=members["launched_at"],
                boot_seconds=members["boot_seconds"],
                power=Power(members["power"]),
                address=members.get("address", ""),
                subnet_id=members.get("subnet_id", ""),
                sessions=[SessionRecord(**session) for session in members.get("sessions", ())],
                snapshots=members.get("snapshots", []),
            )

    def _path(self, instance_id: str) -> Path:
        return self._directory / f"{check_id(instance_id)}.json"


def check_id(instance_id: str) -> str:
    """Return the id. Raises ValueError for what would be a path."""
    if os.sep in instance_id or instance_id.startswith(".") or not instance_id:
        raise ValueError("an instance id is not a path")
    return instance_id
