"""Who sits where in an instance, with seats that only note what they are asked."""

import asyncio
from collections.abc import Coroutine

import pytest

from fanlight.agent.instance import REMEMBERED_ENDS, InstanceLife
from fanlight.agent.sessions import BOOTING, ENDED, FAILED, IN_SESSION, READY
from fanlight.agentwire import MAX_LINE_BYTES, SETTINGS_TOO_LARGE
from fanlight.agentwire.messages import BeginSession, EndSession, Message, Status, StorageReport, encode

TOO_LARGE = StorageReport(kind="APPLICATION_SETTINGS", state="MOUNTED", detail=SETTINGS_TOO_LARGE)


class NotedSeat:
    def __init__(self, bench: "Bench", number: int) -> None:
        self._bench, self.number = bench, number
        self.phase, self.detail = BOOTING, ""
        self.session_id: str | None = None
        self.has_script_failed = False
        self.storage: tuple[StorageReport, ...] = ()
        self.is_abandoned = False

    async def boot(self) -> None:
        if self.number in self._bench.failing:
            self.become(FAILED, "no X server")
        elif self.number not in self._bench.slow:
            self.become(READY)

    def become(self, phase: str, detail: str = "") -> None:
        if phase == READY and self.session_id is not None:
            phase = IN_SESSION
        self.phase, self.detail = phase, detail
        self._bench.life.seat_changed()

    def handle(self, message: Message) -> None:
        if isinstance(message, BeginSession) and self.session_id is None:
            self.session_id = message.session_id
            if self.phase == READY:
                self.become(IN_SESSION)
        elif isinstance(message, EndSession):
            self.become(ENDED)

    async def idle_seconds(self) -> float:
        return 1.0

    def abandon(self) -> None:
        self.is_abandoned = True


class Bench:
    def __init__(self, places: int, numbers: int = 1_000, *, is_for_many: bool = False) -> None:
        self.seats: dict[int, NotedSeat] = {}
        self.failing: set[int] = set()
        self.slow: set[int] = set()
        self.tasks: list[asyncio.Task[None]] = []
        self.life = InstanceLife(
            self._open,
            places=places,
            numbers=iter(range(numbers)),
            on_change=lambda: None,
            in_background=self._in_background,
            is_for_many=is_for_many,
        )

    def _open(self, number: int) -> NotedSeat:
        assert number not in self.seats, "no seat is ever opened twice"
        self.seats[number] = NotedSeat(self, number)
        return self.seats[number]

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def booted(self) -> "Bench":
        self.life.boot()
        await self.settle()
        return self

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def begin(self, session_id: str) -> None:
        self.life.handle(BeginSession(session_id=session_id, user_id="ada", stream_view="APP"))
        await self.settle()

    async def end(self, session_id: str) -> None:
        self.life.handle(EndSession(session_id=session_id))
        await self.settle()

    async def told(self) -> list[tuple[str, int, str]]:
        return [(report.session_id, report.seat, report.phase) for report in await self.life.reports()]


async def test_instance_for_one_session_is_for_one_session_in_all() -> None:
    bench = await Bench(1).booted()
    assert (bench.life.phase, await bench.told()) == ("READY", [])
    await bench.begin("s1")
    await bench.begin("s2")
    assert await bench.told() == [("s1", 0, "IN_SESSION")]
    assert bench.life.detail == "all 1 places are taken"
    await bench.end("s1")
    await bench.begin("s2")
    assert await bench.told() == [("s1", 0, "ENDED")]
    assert list(bench.seats) == [0]


async def test_one_seat_is_ahead_while_there_is_a_place() -> None:
    bench = await Bench(3).booted()
    assert list(bench.seats) == [0]
    for session_id, seats in (("s1", 2), ("s2", 3), ("s3", 3)):
        await bench.begin(session_id)
        assert len(bench.seats) == seats
    await bench.begin("s4")
    assert await bench.told() == [("s1", 0, "IN_SESSION"), ("s2", 1, "IN_SESSION"), ("s3", 2, "IN_SESSION")]


async def test_a_used_seat_is_never_used_again() -> None:
    bench = await Bench(2).booted()
    for number in range(5):
        await bench.begin(f"s{number}")
        await bench.end(f"s{number}")
    assert await bench.told() == [(f"s{number}", number, "ENDED") for number in range(5)]
    await bench.begin("s3")
    assert (await bench.told())[3] == ("s3", 3, "ENDED")
    assert bench.life.detail == "session s3 has ended"


async def test_repeated_begin_keeps_its_seat() -> None:
    bench = await Bench(2).booted()
    for _ in range(3):
        await bench.begin("s1")
    assert await bench.told() == [("s1", 0, "IN_SESSION")]


async def test_sessions_asked_for_while_the_seats_come_up_begin_when_they_are_up() -> None:
    bench = Bench(2)
    bench.slow = {0, 1}
    await bench.booted()
    await bench.begin("s1")
    assert (bench.life.phase, await bench.told()) == ("BOOTING", [("s1", 0, "STARTING_SESSION")])
    await bench.begin("s2")
    assert await bench.told() == [("s1", 0, "STARTING_SESSION"), ("s2", 1, "STARTING_SESSION")]
    bench.seats[1].become(READY)
    bench.seats[0].become(READY)
    assert (bench.life.phase, await bench.told()) == ("READY", [("s1", 0, "IN_SESSION"), ("s2", 1, "IN_SESSION")])


@pytest.mark.parametrize("asked", [True, False])
async def test_first_seat_that_does_not_come_up_fails_the_instance(*, asked: bool) -> None:
    bench = Bench(2)
    bench.failing = {0}
    bench.life.boot()
    if asked:
        bench.life.handle(BeginSession(session_id="s1", user_id="ada", stream_view="APP"))
    await bench.settle()
    assert (bench.life.phase, bench.life.detail) == ("FAILED", "no X server")
    assert await bench.told() == ([("s1", 0, "FAILED")] if asked else [])


async def test_seat_that_fails_without_a_session_ends_the_taking_of_sessions_and_no_session() -> None:
    bench = Bench(3)
    bench.failing = {1}
    await bench.booted()
    await bench.begin("s1")
    assert (bench.life.phase, await bench.told()) == ("FAILED", [("s1", 0, "IN_SESSION")])


async def test_session_that_fails_leaves_the_others_and_the_instance_alone() -> None:
    bench = await Bench(2).booted()
    await bench.begin("s1")
    await bench.begin("s2")
    bench.seats[0].become(FAILED, "x-server ended")
    assert (bench.life.phase, await bench.told()) == ("READY", [("s1", 0, "FAILED"), ("s2", 1, "IN_SESSION")])
    await bench.end("s1")
    await bench.begin("s3")
    assert await bench.told() == [("s1", 0, "ENDED"), ("s2", 1, "IN_SESSION"), ("s3", 2, "IN_SESSION")]


async def test_an_instance_that_has_no_number_left_takes_nobody_and_ends_nobody() -> None:
    bench = await Bench(2, numbers=2).booted()
    await bench.begin("s1")
    await bench.begin("s2")
    await bench.end("s1")
    assert (bench.life.phase, bench.life.detail) == ("FAILED", "this instance has had as many sessions as it can")
    assert await bench.told() == [("s1", 0, "ENDED"), ("s2", 1, "IN_SESSION")]


async def test_the_last_word_of_a_session_has_what_became_of_its_settings() -> None:
    bench = await Bench(1).booted()
    await bench.begin("s1")
    folder = StorageReport(kind="HOMEFOLDERS", state="OFFLINE", detail="it does not answer")
    bench.seats[0].storage = (folder, TOO_LARGE)
    await bench.end("s1")
    (report,) = await bench.life.reports()
    assert report.storage == (TOO_LARGE,)


async def test_end_of_an_unknown_session_is_refused() -> None:
    bench = await Bench(2).booted()
    await bench.end("s9")
    assert bench.life.detail == "there is no session s9"


async def test_status_of_the_fullest_instance_fits_into_a_line() -> None:
    bench = await Bench(50).booted()
    for number in range(REMEMBERED_ENDS + 60):
        await bench.begin(f"{number:0>36}")
        if number < REMEMBERED_ENDS + 10:
            (seat,) = (seat for seat in bench.seats.values() if seat.session_id == f"{number:0>36}")
            seat.storage = (TOO_LARGE,)
            seat.detail = "d" * 500
            await bench.end(f"{number:0>36}")
    for seat in bench.seats.values():
        seat.detail = "d" * 500
    reports = await bench.life.reports()
    assert len(reports) == REMEMBERED_ENDS + 50
    status = Status(protocol=2, runtime_version="x" * 64, phase="READY", sessions=reports, detail="d" * 500)
    assert len(encode(status)) <= MAX_LINE_BYTES


async def test_sessions_follow_one_another_in_an_image_builder() -> None:
    bench = await Bench(1, is_for_many=True).booted()
    for number, session_id in enumerate(("s1", "s2", "s3")):
        await bench.begin(session_id)
        await bench.begin("at-the-same-time")
        assert (await bench.told())[-1] == (session_id, number, "IN_SESSION")
        assert bench.life.detail == "all 1 places are taken"
        await bench.end(session_id)
    assert list(bench.seats) == [0, 1, 2, 3]


@pytest.mark.parametrize("sessions", [[], ["s1"]])
async def test_a_closed_instance_has_no_seat_and_takes_nobody(sessions: list[str]) -> None:
    bench = await Bench(1, is_for_many=True).booted()
    for session_id in sessions:
        await bench.begin(session_id)
    await bench.life.close()
    assert [seat.is_abandoned for seat in bench.seats.values()] == [not sessions]
    bench.life.become_prepared()
    await bench.begin("s9")
    assert (bench.life.phase, await bench.told()) == ("PREPARED", [(each, 0, "ENDED") for each in sessions])
