"""kill -9 at any moment: nothing is lost, nothing is left over, nothing is there twice."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from crash_victim import FLEETS, check_converged, counted, prepare
from simulated_system import SCOPE, running_system, until

from fanlight.domain.fleets import FleetState
from fanlight.domain.streaming_sessions import SessionState

VICTIM = Path(__file__).with_name("crash_victim.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
# The story has about 100 points; a prime step visits different kinds of them, and the first is another each day.
STEP, COUNT = 5, 20
KILLS = 12


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.mark.timeout(280)
def test_a_story_that_is_killed_at_any_point_is_brought_to_its_end(home: Path) -> None:
    first = int(time.time() // 86_400) % STEP
    command = [sys.executable, str(VICTIM), "points", str(home), str(first), str(STEP), str(COUNT)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == COUNT, done.stderr[-3000:]
    assert [o for o in outcomes if o["recovered"] != 0] == []
    killed = [o["point"] for o in outcomes if o["died"] == -signal.SIGKILL]
    assert len(killed) >= COUNT // 2, f"the story is shorter than the test thinks: killed at {killed} only"
    assert all(o["died"] in (0, -signal.SIGKILL) for o in outcomes), outcomes


@pytest.mark.timeout(280)
async def test_a_process_killed_again_and_again_converges_in_the_end(home: Path) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    dice = random.Random(seed)
    await prepare(home)
    for round_ in range(KILLS):
        with (home / "victim.log").open("w") as log:
            victim = subprocess.Popen(
                [sys.executable, str(VICTIM), "churn", str(home), str(seed + round_)],
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"READY\n", (home / "victim.log").read_text()[-3000:]
            time.sleep(dice.random() * 0.6)
            assert victim.poll() is None, (home / "victim.log").read_text()[-3000:]
        finally:
            victim.kill()
            victim.wait()
            if victim.stdout is not None:
                victim.stdout.close()
    async with running_system(home, capacity_wait=timedelta(seconds=1)) as system:
        for name in FLEETS:
            await system.change_fleet(name, desired_instances=3)
            if (await system.fleet(name)).state is FleetState.STOPPING:
                await system.fleet_becomes(FleetState.STOPPED, name)
            await system.start(name)
        for name in ("cad", "office"):
            await until(lambda name=name: counted(system, name, 3), within=20, what=f"{name} at its capacity")

        async def nobody_waits() -> bool:
            async with system.transactions.begin() as work:
                return all(s.state is SessionState.ACTIVE for s in await work.sessions.live())

        await until(nobody_waits, within=20, what="every session active or refused")
        await check_converged(system)
        for name in FLEETS:
            await system.services.fleets.stop(SCOPE, name)
        for name in FLEETS:
            await system.fleet_becomes(FleetState.STOPPED, name)
        assert (await system.instances(), await system.driver.observe()) == ([], [])
        assert list(system.driver._homes.iterdir()) == []
