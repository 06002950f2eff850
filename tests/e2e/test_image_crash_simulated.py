"""kill -9 at any moment of making, copying, deleting and updating images: all of it is finished, and nothing is left over."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

VICTIM = Path(__file__).with_name("image_crash_victim.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
# The story has about 95 points; the first is another each day, so that in eleven days of runs each had its turn.
STEP, COUNT = 11, 9


@pytest.mark.timeout(120)
def test_images_that_were_begun_are_finished_after_a_kill_at_any_point() -> None:
    first = int(time.time() // 86_400) % STEP
    with tempfile.TemporaryDirectory(prefix="fl-") as home:
        command = [sys.executable, str(VICTIM), "points", home, str(first), str(STEP), str(COUNT)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert outcomes, done.stderr[-3000:]
    assert [o for o in outcomes if o["recovered"] != 0] == []
    killed = [o["point"] for o in outcomes if o["died"] == -signal.SIGKILL]
    assert len(killed) >= COUNT // 2, f"the story is shorter than the test thinks: killed at {killed} only"
    assert all(o["died"] in (0, -signal.SIGKILL) for o in outcomes), outcomes
