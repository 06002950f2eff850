"""The api half of Fanlight as a process that is killed: at a counted point, or whenever the test likes.

`points DIR FIRST STEP COUNT`: for each point, a forked child plays a fixed story and is killed with SIGKILL at that
write, launch, terminate, send or answer; another child goes on from what is left and must bring the story to its end.
Prints one line of JSON for each point. `churn DIR SEED`: change wishes at random until somebody kills it.
"""

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.errors import DomainError
from fanlight.domain.fleets import FleetState, FleetType
from fanlight.domain.instances import InstanceState
from fanlight.domain.streaming_sessions import EndReason, SessionState

FLEETS = ("cad", "demand", "office")


class Fuse:
    """Kills the process at the n-th point; -1 never does."""

    def __init__(self, point: int) -> None:
        self.left = point

    def burn(self) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def around(self, part: Any) -> Any:
        return Mined(part, self)


class Mined:
    """Anything with methods; before and after each that acts on the world stands a point."""

    ACTS = frozenset({"launch", "terminate", "send", "open", "close", "publish", "copy", "warm", "delete"})

    def __init__(self, part: Any, fuse: Fuse) -> None:
        self._part, self._fuse = part, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name == "begin":
            return self._begin
        return self._mined(found) if name in self.ACTS else found

    def _mined(self, act: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def mined(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            answer = await act(*arguments, **named)
            self._fuse.burn()
            return answer

        return mined

    @asynccontextmanager
    async def _begin(self, *, write: bool = False) -> AsyncIterator[Any]:
        async with self._part.begin(write=write) as work:
            if write:
                work.commit = self._mined(work.commit)
            yield work


async def story(system: System) -> None:
    """Start, use, end, scale and stop. Every step may have been done already by a predecessor that was killed."""
    if (await system.fleet("demand")).state is FleetState.STOPPING:
        await system.fleet_becomes(FleetState.STOPPED, "demand")
    await system.services.fleets.start(SCOPE, "cad")
    await system.services.fleets.start(SCOPE, "demand")
    await system.fleet_becomes(FleetState.RUNNING, "cad")
    await system.fleet_becomes(FleetState.RUNNING, "demand")
    kept, ended = await system.open("kept", "cad"), await system.open("ended", "demand")
    for session in (kept, ended):
        await system.session_becomes(session.session_id, lambda s: s.state is not SessionState.PENDING)
    await system.services.sessions.request_end(ended.session_id, EndReason.USER)
    await system.change_fleet("cad", desired_instances=3)
    await until(lambda: counted(system, "cad", 3), within=20, what="three instances of cad")
    await system.change_fleet("cad", desired_instances=1)
    await until(lambda: counted(system, "cad", 1), within=20, what="one instance of cad")
    await system.services.fleets.stop(SCOPE, "demand")
    await system.fleet_becomes(FleetState.STOPPED, "demand")


async def counted(system: System, name: str, count: int) -> bool:
    """Return whether the fleet has so many instances, all of them up, and the engine has just these."""
    rows = [i for i in await system.instances() if i.fleet_id == f"f-{name}"]
    observed = {o.instance_id for o in await system.driver.observe() if o.labels["fleet_id"] == f"f-{name}"}
    is_up = all(i.state in (InstanceState.READY, InstanceState.IN_USE) and i.ready_at for i in rows)
    return is_up and len(rows) == count and observed == {i.instance_id for i in rows}


async def prepare(data_dir: Path) -> None:
    async with running_system(data_dir) as system:
        for name in FLEETS:
            kind = FleetType.ON_DEMAND if name == "demand" else FleetType.ALWAYS_ON
            await system.make_fleet(name, desired_instances=2, fleet_type=kind)


async def die_at(data_dir: Path, point: int) -> None:
    async with running_system(data_dir, around=Fuse(point).around, capacity_wait=timedelta(seconds=60)) as system:
        await story(system)


async def recover(data_dir: Path) -> None:
    """Bring the story to its end, and find nothing lost, nothing left over and nothing twice."""
    async with running_system(data_dir, capacity_wait=timedelta(seconds=60)) as system:
        async with system.transactions.begin() as work:
            active = {s.session_id for s in await work.sessions.live() if s.state is SessionState.ACTIVE}
        await story(system)
        await check_converged(system)
        async with system.transactions.begin() as work:
            live = {s.session_id: s for s in await work.sessions.live()}
        assert [s.user_id for s in live.values()] == ["kept"], live
        kept_before = {i for i in active if i in live}
        assert len(active - kept_before) <= 1, "an active session was lost"


async def check_converged(system: System) -> None:
    await system.pass_time(timedelta(seconds=31))
    for _ in range(1000):
        if not (found := await contradictions(system)):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(found)


async def contradictions(system: System) -> list[str]:
    """Return what store, engine, guests and directories disagree about."""
    async with system.transactions.begin() as work:
        rows = {i.instance_id: i for i in await work.instances.everywhere()}
        sessions = {s.session_id: s for s in await work.sessions.live()}
    observed = {o.instance_id for o in await system.driver.observe()}
    directories = {p.name for p in system.driver._homes.iterdir()}
    holders = Counter(s.instance_id for s in sessions.values() if s.instance_id)
    begun = Counter(s.session_id for r in system.driver._known.values() for s in r.sessions)
    found = [f"rows without instance: {set(rows) - observed}"] if set(rows) - observed else []
    found += [f"instances without row: {observed - set(rows)}"] if observed - set(rows) else []
    found += [f"directories: {directories ^ observed}"] if directories != observed else []
    found += [f"{n} sessions hold {i}" for i, n in holders.items() if i not in rows or n > rows[i].places]
    found += [f"session {s} begun in {n} instances" for s, n in begun.items() if n > 1]
    found += [f"{s} holds {s.instance_id}, which is not its" for s in sessions.values()
              if s.instance_id and (s.instance_id not in rows or s.session_id not in rows[s.instance_id].session_ids)]  # fmt: skip
    return found + [f"kept for nobody: {i}" for i in rows.values() for s in i.session_ids if s not in sessions]


def in_child(work: Coroutine[Any, Any, None], log: Path) -> int:
    """Run `work` in a forked child and return how it ended (waitstatus)."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with log.open("w") as out:
                os.dup2(out.fileno(), 2)
            import uvloop

            uvloop.run(work)
            status = 0
        except BaseException:  # noqa: BLE001 - it goes to the log of the child, whole
            traceback.print_exc()
        finally:
            os._exit(status)
    work.close()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def try_points(home: Path, first: int, step: int, count: int) -> None:
    for point in range(first, first + step * count, step):
        data_dir = home / str(point)
        data_dir.mkdir()
        assert in_child(prepare(data_dir), data_dir / "log") == 0, (data_dir / "log").read_text()
        died = in_child(die_at(data_dir, point), data_dir / "log")
        recovered = in_child(recover(data_dir), data_dir / "log")
        why = "" if recovered == 0 else (data_dir / "log").read_text()[-3000:]
        print(json.dumps({"point": point, "died": died, "recovered": recovered, "why": why}), flush=True)


async def churn(data_dir: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with running_system(data_dir, boot_seconds=0.02, capacity_wait=timedelta(seconds=60)) as system:
        print("READY", flush=True)
        while True:
            await asyncio.sleep(dice.random() * 0.03)
            with suppress(DomainError):
                await one_wish(system, dice)


async def one_wish(system: System, dice: random.Random) -> None:
    name, kind = dice.choice(FLEETS), dice.randrange(20)
    if kind < 5:
        await system.services.fleets.start(SCOPE, name)
    elif kind == 5:
        await system.services.fleets.stop(SCOPE, name)
    elif kind < 9:
        await system.change_fleet(name, desired_instances=dice.randrange(5))
    elif kind < 15:
        await system.open(f"user-{dice.randrange(6)}", name)
    elif kind < 19:
        async with system.transactions.begin() as work:
            live = await work.sessions.live()
        if live:
            await system.services.sessions.request_end(dice.choice(live).session_id, EndReason.USER)
    elif observed := await system.driver.observe():
        await system.driver.lose(dice.choice(observed).instance_id)


if __name__ == "__main__":
    if sys.argv[1] == "points":
        try_points(Path(sys.argv[2]), *(int(number) for number in sys.argv[3:6]))
    else:
        import uvloop

        uvloop.run(churn(Path(sys.argv[2]), int(sys.argv[3])))
