"""What an agent does about sessions that its instance lost when it stopped."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from fanlight.agent.instance import InstanceLife
from fanlight.agent.left_sessions import LeftSession
from fanlight.agent.session_notes import SessionNote, found_notes
from fanlight.agentwire.messages import BeginSession, StorageMount, StorageReport

HOME = StorageMount(kind="HOMEFOLDERS", socket="0123456789abcdef.sock", token="secret", folder="HomeFolder")
NOTE = SessionNote(0, "s-1", (HOME,))


def test_a_note_comes_back_as_it_was_written_and_is_for_root_alone(tmp_path: Path) -> None:
    for seat in (0, 3):
        (tmp_path / "var/cache/fanlight" / str(seat)).mkdir(parents=True)
    third = SessionNote(3, "s-3", (HOME,))
    for note in (SessionNote(0, "s-0", ()), NOTE, third):
        note.write(tmp_path)
    assert found_notes(tmp_path) == [NOTE, third]
    path = tmp_path / "var/cache/fanlight/0/session.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('{"session_id": ')
    (tmp_path / "var/cache/fanlight/3/session.json").write_text('{"session_id": "s-3", "mounts": [{"kind": "x"}]}')
    assert found_notes(tmp_path) == []
    assert found_notes(tmp_path / "nowhere") == []


def begin(session_id: str) -> BeginSession:
    return BeginSession(session_id=session_id, user_id="bob", stream_view="DESKTOP")


class Storage:
    def __init__(self) -> None:
        self.reports: tuple[StorageReport, ...] = ()
        self.sent = asyncio.Event()
        self.problem: OSError | None = None

    def begin_left(self, mounts: Sequence[StorageMount]) -> None:
        if self.problem is not None:
            raise self.problem
        assert list(mounts) == [HOME]
        self.reports = (StorageReport(kind="HOMEFOLDERS", state="OFFLINE", unsent_files=2, unsent_bytes=9),)

    async def end(self, on_unsent: Callable[[], None]) -> None:
        on_unsent()
        await self.sent.wait()


class Bench:
    """An instance that was started again; `prepared` counts what its left session asked for."""

    def __init__(self, *, problem: OSError | None = None) -> None:
        self.storage, self.prepared, self.tasks = Storage(), 0, set[asyncio.Task[None]]()
        self.storage.problem = problem
        self.life = InstanceLife(
            self._open, places=1, numbers=iter(range(5)), on_change=lambda: None, in_background=self._in_background
        )
        session = LeftSession(NOTE, self.storage, self._prepare, on_change=self.life.seat_changed)
        self.life.adopt(0, session)
        self.life.take_nobody()

    def _open(self, number: int) -> LeftSession:
        raise AssertionError("nobody comes to an instance that others have used")

    def _prepare(self) -> None:
        self.prepared += 1

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.add(asyncio.create_task(work))

    async def said(self) -> list[tuple[str, str, int]]:
        return [
            (one.session_id, one.phase, sum(s.unsent_files for s in one.storage)) for one in await self.life.reports()
        ]

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_the_session_flushes_from_the_first_word_until_everything_was_sent() -> None:
    bench = Bench()
    assert (bench.life.phase, await bench.said()) == ("READY", [("s-1", "FLUSHING", 0)])
    await bench.settle()
    assert (bench.prepared, await bench.said()) == (1, [("s-1", "FLUSHING", 2)])
    bench.storage.sent.set()
    await bench.settle()
    assert await bench.said() == [("s-1", "ENDED", 0)]


async def test_nobody_comes_to_it_meanwhile_or_later() -> None:
    bench = Bench()
    await bench.settle()
    for session_id in ("s-1", "s-2"):
        bench.life.handle(begin(session_id))
    assert await bench.said() == [("s-1", "FLUSHING", 2)]
    bench.storage.sent.set()
    await bench.settle()
    bench.life.handle(begin("s-2"))
    assert await bench.said() == [("s-1", "ENDED", 0)]


async def test_what_cannot_even_be_tried_is_said_and_not_taken_for_sent() -> None:
    bench = Bench(problem=OSError("no space left"))
    await bench.settle()
    assert await bench.said() == [("s-1", "FAILED", 0)]
