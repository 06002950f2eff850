"""The program that fetches or sends a user's settings: root at the door, the user at the home.

Root alone may pass the door and sees no file of the home; a child that has become the user, and can become nothing
else, packs and unpacks. While something is sent, lines of JSON say how much of it; the last one that is printed says what became of it all.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from fanlight.agent.kept_settings import archives
from fanlight.agent.kept_settings.archives import State, Unfit, Unpacked
from fanlight.agent.kept_settings.children import Person, run_as
from fanlight.agent.kept_settings.versions import (
    Broken,
    Door,
    Full,
    Listed,
    NotThere,
    Unreachable,
    newest_first,
    next_version,
    outdated,
)

ORDER_VARIABLE = "FANLIGHT_ORDER"
RESTORE, SAVE = "restore", "save"
# Outcomes. LOST: what was there could not be used, the user begins anew. UNREACHABLE: nobody knows what is there.
DONE, LOST, UNFIT, UNREACHABLE = "done", "lost", "unfit", "unreachable"
PATIENCE_IN_SECONDS = 5.0  # without a byte
DOOR_LIMIT_IN_SECONDS, DOOR_POLL_IN_SECONDS = 10.0, 0.03
FIRST_PAUSE_IN_SECONDS, LONGEST_PAUSE_IN_SECONDS = 1.0, 30.0

Say = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`directory` is root's own, and stays from the one order to the other. `max_bytes` 0: no limit."""

    action: str
    socket: str
    token: str
    directory: str
    home: str
    uid: int
    group: int
    max_bytes: int

    def __repr__(self) -> str:
        return f"Order({self.action!r}, {self.home!r})"

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def main() -> None:
    """`fanlight-settings STATUS`, the number of a descriptor. The order is in the environment, which only root can read."""
    order = Order(**json.loads(os.environ.pop(ORDER_VARIABLE)))
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as status:

        def say(**members: object) -> None:
            status.write(json.dumps(members) + "\n")
            status.flush()

        outcome, detail = carry_out(order, say)
    sys.stdout.write(json.dumps({"outcome": outcome, "detail": detail}) + "\n")


def carry_out(order: Order, say: Say, *, sleep: Callable[[float], None] = time.sleep) -> tuple[str, str]:
    """Return the outcome, and words for the log. Never raises."""
    try:
        Path(order.directory).mkdir(mode=0o700, exist_ok=True)
        if order.action == RESTORE:
            return _restore(order, sleep)
        return _save(order, say, sleep)
    except Unreachable as error:
        return UNREACHABLE, str(error)
    except Unfit as error:
        return UNFIT, str(error)
    except Full:
        return UNFIT, "there is no room for them"
    except OSError as error:
        return UNFIT, error.strerror or str(error)


# ── The two ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _restore(order: Order, sleep: Callable[[float], None]) -> tuple[str, str]:
    """Note what is there without the user, then put the newest version that is whole and fits into the home."""
    _before_in(order).write_bytes(_look(order))
    door = Door(order.socket, order.token, patience=PATIENCE_IN_SECONDS)
    problems: list[str] = []
    for version in newest_first(_versions_soon(door, sleep)):
        if order.max_bytes and version.size > order.max_bytes:
            problems.append("a version is too large")
            continue
        try:
            with _scratch(order) as scratch:
                door.fetch(version, scratch)
                scratch.flush()
                scratch.seek(0)
                unpacked = _unpack(order, scratch)
        except (Broken, Unfit) as error:
            problems.append(str(error))
            continue
        return DONE, _words_for(unpacked, problems)
    return (LOST, "; ".join(problems)) if problems else (DONE, "there are none yet")


def _versions_soon(door: Door, sleep: Callable[[float], None]) -> list[Listed]:
    """Return what there is as soon as the door is open: the host opens it while the session begins. Raises Unreachable."""
    deadline = time.monotonic() + DOOR_LIMIT_IN_SECONDS
    while True:
        try:
            return door.versions()
        except NotThere:
            if time.monotonic() > deadline:
                raise
        sleep(DOOR_POLL_IN_SECONDS)


def _words_for(unpacked: Unpacked, problems: Sequence[str]) -> str:
    words = [f"{unpacked.entries} entries"]
    if unpacked.refused:
        words.append(f"{unpacked.refused} of them have no place in this image")
    if problems:
        words.append(f"an older version, for of the newest: {'; '.join(problems)}")
    return ", ".join(words)


def _save(order: Order, say: Say, sleep: Callable[[float], None]) -> tuple[str, str]:
    """Pack once, then send until it has arrived: whoever ordered it ends it."""
    noted = json.loads(_before_in(order).read_bytes())
    before: Mapping[str, State] = {name: (a, b, c, d) for name, (a, b, c, d) in noted.items()}
    with _scratch(order) as scratch:
        size, digest = _pack(order, before, scratch)
        pause = FIRST_PAUSE_IN_SECONDS
        while True:
            say(size=size, sent=0)
            try:
                return DONE, _send(order, scratch, size, digest, lambda sent: say(size=size, sent=sent))
            except Unreachable as error:
                say(size=size, sent=0, detail=str(error))
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_IN_SECONDS)


def _send(order: Order, scratch: IO[bytes], size: int, digest: str, on_sent: Callable[[int], None]) -> str:
    door = Door(order.socket, order.token, patience=PATIENCE_IN_SECONDS)
    listed = door.versions()
    newest = newest_first(listed)
    if newest and (newest[0].size, newest[0].digest) == (size, digest):
        return "nothing has changed"
    version = next_version(listed, size, digest, datetime.now(UTC))
    scratch.seek(0)
    door.send(version, scratch, on_sent)
    with suppress(Unreachable):  # the next one will
        for old in outdated(door.versions(), datetime.now(UTC)):
            door.remove(old)
    return f"{size} bytes"


def _before_in(order: Order) -> Path:
    return Path(order.directory, "before.json")


def _scratch(order: Order) -> IO[bytes]:
    """Return a file without a name, for root alone."""
    return tempfile.TemporaryFile(dir=order.directory)


# ── The user's side ───────────────────────────────────────────────────────────────────────────────────────────────


def _look(order: Order) -> bytes:
    return _words_of(order, lambda home: json.dumps(archives.states_in(home)))


def _unpack(order: Order, source: IO[bytes]) -> Unpacked:
    said = _words_of(order, lambda home: json.dumps(asdict(archives.unpack(source, home, order.max_bytes))))
    return Unpacked(**json.loads(said))


def _words_of(order: Order, work: Callable[[Path], str]) -> bytes:
    said = bytearray()
    run_as(
        Person(order.uid, order.group),
        lambda output: _ignore(output.write(work(Path(order.home)).encode())),
        said.extend,
    )
    return bytes(said)


def _pack(order: Order, before: Mapping[str, State], target: IO[bytes]) -> tuple[int, str]:
    """Return size and digest. The child's word is not taken for how much it writes."""
    digest, size = hashlib.sha256(), 0

    def consume(chunk: bytes) -> None:
        nonlocal size
        size += len(chunk)
        if order.max_bytes and size > order.max_bytes:
            raise Unfit(archives.too_large(order.max_bytes))
        digest.update(chunk)
        target.write(chunk)

    def work(output: IO[bytes]) -> None:
        archives.pack(Path(order.home), before, output, order.max_bytes)

    run_as(Person(order.uid, order.group), work, consume)
    target.flush()
    return size, digest.hexdigest()


def _ignore(_: object) -> None:
    pass
