"""rclone in an instance: how it is started to show a door's files as a folder, and how it is asked about them.

It keeps what is written in its cache on the instance's disk and sends it a little later. A process that is started on
the cache of another one sends what that had not sent. Runs as root in the view of the seat; its secret is in its
environment, which root alone can read.
"""

import json
import os
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fanlight.agent.accounts import Seat
from fanlight.agent.folder_mounts import NEWS, ROOM
from fanlight.agent.gate.ledger import Room
from fanlight.agent.processes import Program
from fanlight.agent.session_scripts import ROOT
from fanlight.agent.unix_http import ask
from fanlight.agentwire import RUNTIME_DIRECTORY, STORAGE_SOCKETS
from fanlight.agentwire.messages import MalformedMessage, Opening, StorageMount, read

CACHES = "/var/cache/fanlight"
REMOTE = "files"  # a name of its own: the cache is found again under it
DOOR_USER = "session"  # whom the door expects
DOOR_CHECK = "X-Fanlight-Check"  # on a PROPFIND: also whether the bucket can be used
DOOR_BUSY = "X-Fanlight-Busy"  # on the answer: a folder is being read
DOOR_OPENING = "X-Fanlight-Opening"  # on the answer: the folder whose names are being read
# Long enough for a program that saves in two steps, short enough that little is lost with an instance.
WRITE_BACK_IN_SECONDS = 1
TRANSFERS = 8  # at a time: an endpoint may answer late. Each takes some 20 MB of the host's memory for a large file
# How long a listing is good when nobody says otherwise. The agent has rclone forget sooner, but only while the door
# answers: what was seen stays in sight for a while when it does not.
LISTING_IN_MINUTES = 10
SMALLEST_CACHE, KEPT_FREE = 256 << 20, 256 << 20
DOOR_LIMIT_IN_SECONDS, _LIMIT_IN_SECONDS = 5.0, 10.0
_ROOM_WISH = b"""<?xml version="1.0" encoding="UTF-8"?>
<D:propfind xmlns:D="DAV:"><D:prop><D:quota-available-bytes/><D:quota-used-bytes/></D:prop></D:propfind>"""
_AVAILABLE, _USED = re.compile(rb"quota-available-bytes>(\d+)<"), re.compile(rb"quota-used-bytes>(\d+)<")
_NOW = -1_000_000.0  # an expiry that is long over


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPlace:
    """Where everything of one folder is. `directory` is root's alone; `root` is where the file system begins."""

    seat: Seat
    mount: StorageMount
    root: Path = Path("/")

    @property
    def directory(self) -> Path:
        return self.root / self.seat.directory.lstrip("/") / "storage" / self.mount.kind

    @property
    def control_socket(self) -> Path:
        return self.directory / "rc.sock"

    @property
    def gate(self) -> Path:
        """Where a gate hears how much room there is."""
        return self.directory / "gate.sock"

    @property
    def hidden(self) -> Path:
        """Where the files are mounted when their place in the user's home cannot be had."""
        return self.directory / "files"

    @property
    def cache(self) -> Path:
        return self.root / CACHES.lstrip("/") / str(self.seat.number) / self.mount.kind

    @property
    def files_directory(self) -> Path:
        return self.root / self.seat.files_directory.lstrip("/")

    @property
    def door(self) -> str:
        return str(self.root / STORAGE_SOCKETS.lstrip("/") / self.mount.socket)

    @property
    def authorization(self) -> str:
        return "Basic " + b64encode(f"{DOOR_USER}:{self.mount.token}".encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """A file that was saved and has not arrived."""

    upload_id: int
    size: int
    tries: int
    is_uploading: bool
    is_due: bool


def mount_program(place: FolderPlace, room: Room | None, *, is_shown: bool) -> Program:
    """Return the program whose life is the life of the mount; one that is not shown only sends what is in the cache.

    What is shown and has a limit has a gate before it, which keeps it.
    """
    user = place.seat.user
    disk = os.statvfs(place.cache)
    cache_size = max(SMALLEST_CACHE, disk.f_bavail * disk.f_frsize // 2)
    arguments = [
        f"{RUNTIME_DIRECTORY}/bin/rclone", "mount", f"{REMOTE}:", str(place.hidden),
        "--allow-other", "--allow-non-empty", "--default-permissions",
        "--uid", str(user.uid), "--gid", str(user.group), "--umask", "077",
        "--vfs-cache-mode", "full", "--vfs-write-back", f"{WRITE_BACK_IN_SECONDS}s",
        "--cache-dir", str(place.cache),
        # Neither ever drops what was not sent.
        "--vfs-cache-max-size", f"{cache_size}B", "--vfs-cache-min-free-space", f"{KEPT_FREE}B",
        "--dir-cache-time", f"{LISTING_IN_MINUTES}m", "--poll-interval", "0",
        "--vfs-read-chunk-size", "16M", "--buffer-size", "4M",
        # What fails is said at once: uploads are tried again all the same, and a program must not stand still.
        "--contimeout", "5s", "--low-level-retries", "1",
        # By itself rclone waits 10 ms between two requests, and a small file takes two: fifty files a second. That is
        # meant for services that count requests, and the door is a socket of this host.
        "--webdav-pacer-min-sleep", "0s", "--transfers", str(TRANSFERS),
        "--rc", "--rc-addr", f"unix://{place.control_socket}", "--rc-no-auth",
    ]  # fmt: skip
    remote = f"RCLONE_CONFIG_{REMOTE.upper()}"
    environment = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_LOG_LEVEL": "NOTICE",
        f"{remote}_TYPE": "webdav",
        f"{remote}_URL": "http://storage/",
        f"{remote}_VENDOR": "owncloud",  # then times of files are kept, and a listing is one request
        f"{remote}_UNIX_SOCKET": place.door,
        f"{remote}_HEADERS": f"Authorization,{place.authorization}",
    }
    if is_shown:
        environment["FANLIGHT_FOLDER_PATH"] = str(place.files_directory / place.mount.folder)
        if room is not None and room.limit is not None:
            environment |= {ROOM: f"{room.limit} {room.used}", NEWS: str(place.gate)}
    return _program(place, arguments, environment)


def unmount_program(place: FolderPlace) -> Program:
    """Return the program that takes the mount away: rclone, not knowing where it is, would leave it."""
    return _program(place, [f"{RUNTIME_DIRECTORY}/bin/fusermount3", "-u", str(place.hidden)], {})


def _program(place: FolderPlace, arguments: Sequence[str], environment: Mapping[str, str]) -> Program:
    return Program(
        name=f"storage-{place.mount.kind.lower()}",
        seat=place.seat,
        arguments=arguments,
        account=ROOT,
        environment={
            "PATH": f"{RUNTIME_DIRECTORY}/bin",  # of fusermount3, which is ours: see `agent.folder_mounts`
            "GCONV_PATH": f"{RUNTIME_DIRECTORY}/lib",  # or the C library would load the image's converters
            "LANG": "C.UTF-8",
            "HOME": "/nonexistent",
            "FANLIGHT_FOLDER_KIND": place.mount.kind,
            **environment,
        },
    )


class RcloneControl:
    """What is asked of a running rclone. Everything raises OSError while it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    async def unsent(self) -> list[Unsent]:
        return [
            Unsent(
                upload_id=int(one["id"]),
                size=int(one["size"]),
                tries=int(one["tries"]),
                is_uploading=bool(one["uploading"]),
                is_due=float(one["expiry"]) <= 0,
            )
            for one in (await self._call("vfs/queue")).get("queue") or ()
        ]

    async def send_now(self, upload_id: int) -> None:
        """Do not wait any longer before this one; that it has gone meanwhile is fine."""
        await self._call("vfs/queue-set-expiry", {"id": upload_id, "expiry": _NOW}, may_fail=True)

    async def begin_to_list(self) -> int:
        """Read the uppermost directory; return the number of that job."""
        return int((await self._call("vfs/refresh", {"_async": True}))["jobid"])

    async def has_listed(self, job: int) -> bool:
        return bool((await self._call("job/status", {"jobid": job}))["finished"])

    async def forget_listings(self) -> None:
        await self._call("vfs/forget")

    async def last_error(self) -> str:
        """Return why something failed last. It may name files."""
        return str((await self._call("core/stats")).get("lastError", ""))

    async def _call(self, command: str, values: dict[str, Any] | None = None, *, may_fail: bool = False) -> Any:
        answer = await ask(
            self._socket,
            "POST",
            f"/{command}",
            headers={"Content-Type": "application/json"},
            body=json.dumps(values or {}).encode(),
            limit_in_seconds=_LIMIT_IN_SECONDS,
        )
        if answer.status != HTTPStatus.OK and not may_fail:
            raise OSError(f"rclone answers {answer.status} to {command}")
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise OSError(f"rclone's answer to {command} is not understood") from error


@dataclass(frozen=True, slots=True)
class DoorWord:
    """What a door says that answers: how much room there is, and the listing that takes long, if one does.

    While it `is_busy` with a listing rclone must not be told to forget: all folders would wait for the end of that one.
    """

    room: Room
    is_busy: bool = False
    opening: Opening | None = None


async def ask_door(place: FolderPlace) -> DoorWord | None:
    """Return None when it does not answer or has no bucket behind it that can be used."""
    headers = {"Authorization": place.authorization, "Depth": "0", DOOR_CHECK: "1", "Content-Type": "application/xml"}
    try:
        answer = await ask(
            place.door, "PROPFIND", "/", headers=headers, body=_ROOM_WISH, limit_in_seconds=DOOR_LIMIT_IN_SECONDS
        )
    except OSError:
        return None
    if answer.status != HTTPStatus.MULTI_STATUS:
        return None
    is_busy = answer.header(DOOR_BUSY) is not None
    return DoorWord(_room_in(answer.body), is_busy=is_busy, opening=_opening_of(answer.header(DOOR_OPENING)))


def _room_in(answer: bytes) -> Room:
    available, used = _AVAILABLE.search(answer), _USED.search(answer)
    if available is None or used is None:
        return Room(limit=None, used=0)
    return Room(limit=int(available[1]) + int(used[1]), used=int(used[1]))


def _opening_of(said: str | None) -> Opening | None:
    try:
        return read(Opening, json.loads(said)) if said else None
    except (ValueError, MalformedMessage):
        return None


def unsent_in(cache: Path) -> tuple[int, int]:
    """Return number and bytes of the files in a cache that have not arrived. For when no rclone runs on it."""
    count = total = 0
    for directory, _, names in os.walk(cache / "vfsMeta"):
        for name in names:
            try:
                about = json.loads((Path(directory) / name).read_bytes())
            except (OSError, ValueError):
                continue
            if isinstance(about, dict) and about.get("Dirty"):
                count, total = count + 1, total + int(about.get("Size") or 0)
    return count, total
