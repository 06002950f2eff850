"""From an opened streaming URL to the first picture on the screen, and fleets of real instances, on a real Incus."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rows import Report, Row, percentile
from e2e.administrators import Administrator
from e2e.browsers import chromium, visitor
from e2e.conftest import INCUS_SETTINGS, prepared_installation
from e2e.installation import Installation, wait_for
from e2e.instances import Instances

SESSIONS, QUICK_SESSIONS = 20, 5
WARM_BAR_IN_SECONDS, COLD_BAR_IN_SECONDS, START_BAR_IN_SECONDS = 1.0, 4.0, 10.0
FLEET_SIZE, QUICK_FLEET_SIZE = 20, 5
APPLICATION = "text-editor"
WARM_INSTANCES = 2
REST_IN_SECONDS = 1.0
SETTLE_IN_SECONDS = 20.0  # until a fresh instance has come to rest, before its memory is read


@contextmanager
def installation(report: Report) -> Iterator[Installation]:
    """The installation of the end-to-end tests: same images, same Incus project, empty."""
    report("images and a fresh installation")
    with prepared_installation(INCUS_SETTINGS | {"log_level": "info"}) as made:
        yield made


def measure_first_frames(report: Report, *, is_quick: bool) -> list[Row]:
    """Open sessions one after another, each with a fresh instance and a browser that has seen nothing before."""
    count = QUICK_SESSIONS if is_quick else SESSIONS
    with installation(report) as made:
        administrator = Administrator(made.client())
        administrator.make("bench-warm", capacity=WARM_INSTANCES)
        warm = _first_frames(
            administrator, "bench-warm", count, report, lambda name: _wait_until_at_rest(made, name, WARM_INSTANCES)
        )
        administrator.remove("bench-warm")
        administrator.make("bench-cold", FleetType="ON_DEMAND")
        cold = _first_frames(
            administrator, "bench-cold", count, report, lambda name: _wait_until_at_rest(made, name, 0)
        )
        administrator.remove("bench-cold")
    return [
        _first_frame_row("URL opened → first frame, ALWAYS_ON", warm, WARM_BAR_IN_SECONDS),
        _first_frame_row("URL opened → first frame, ON_DEMAND, cold instance", cold, COLD_BAR_IN_SECONDS),
    ]


def _first_frames(
    administrator: Administrator, fleet: str, count: int, report: Report, wait_until_ready: Callable[[str], None]
) -> list[float]:
    taken = []
    with chromium() as browser:
        for number in range(count):
            report(f"{fleet}: session {number + 1} of {count}")
            wait_until_ready(fleet)
            user = f"user-{number}"
            url = administrator.url(fleet, user, APPLICATION)
            with visitor(browser) as person:
                time.sleep(REST_IN_SECONDS)  # the browser's own window is open before a person follows a link
                person.open(url)
                taken.append(person.wait_for_picture())
            administrator.expire(fleet, user)
    return taken


def _wait_until_at_rest(made: Installation, fleet: str, instances: int) -> None:
    """Wait until the instance of the session before is gone and its successor is free: nothing else goes on meanwhile."""
    Administrator(made.client()).wait_for_capacity(fleet, instances)
    wait_for(lambda: len(Instances(made).names()) == instances, timeout=60, what=f"{instances} instances")
    time.sleep(REST_IN_SECONDS)


def _first_frame_row(name: str, taken: list[float], bar_in_seconds: float) -> Row:
    p95 = percentile(taken, 0.95)
    return Row(
        name=f"{name}, {len(taken)} sessions one after another",
        figure=f"p95 {p95:.2f} s, median {statistics.median(taken):.2f} s, worst {max(taken):.2f} s",
        bar=f"p95 < {bar_in_seconds:.0f} s",
        is_met=p95 < bar_in_seconds,
        details={"seconds": taken},
    )


def measure_fleet(report: Report, *, is_quick: bool) -> list[Row]:
    """Start a fleet, read what an idle instance costs, and start Fanlight a second time over it."""
    size = QUICK_FLEET_SIZE if is_quick else FLEET_SIZE
    with installation(report) as made:
        administrator = Administrator(made.client())
        administrator.make("bench-fleet", capacity=size, start=False)
        report(f"fleet of {size}")
        began = time.monotonic()
        administrator.client.start_fleet(Name="bench-fleet")
        while administrator.fleet("bench-fleet")["State"] != "RUNNING":
            time.sleep(0.1)
        running = time.monotonic() - began
        administrator.wait_for_capacity("bench-fleet", size, timeout=300)
        all_ready = time.monotonic() - began
        time.sleep(SETTLE_IN_SECONDS)
        memory = [_memory_in_mib(made, name) for name in Instances(made).names()]
        report("second start")
        stopped_at = time.monotonic()
        made.stop()
        stopping = time.monotonic() - stopped_at
        starting = made.start()
        administrator.remove("bench-fleet")
    return [
        Row(
            name=f"fleet of {size} instances, StartFleet → RUNNING with all of them available",
            figure=f"{all_ready:.1f} s ({all_ready / size:.2f} s each); RUNNING after {running:.1f} s",
            details={"running": running, "all_ready": all_ready, "instances": size},
        ),
        Row(
            name="memory of an idle instance, its share of what is mapped in common counted once",
            figure=f"{statistics.mean(memory):.0f} MiB" if memory else "–",
            details={"mib": memory},
        ),
        Row(
            name=f"second start over {size} running instances: ready",
            figure=f"{starting:.1f} s (stop took {stopping:.1f} s)",
            bar=f"< {START_BAR_IN_SECONDS:.0f} s",
            is_met=starting < START_BAR_IN_SECONDS,
            details={"starting": starting, "stopping": stopping},
        ),
    ]


def _memory_in_mib(made: Installation, name: str) -> float:
    """Return the proportional set size of all processes of an instance."""
    state = subprocess.run(
        ["incus", "query", f"/1.0/instances/{name}/state?project={Instances(made).project}"],
        capture_output=True,
        check=True,
    )
    total = 0
    for pid in _descendants(int(json.loads(state.stdout)["pid"])):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it ended meanwhile
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _descendants(int(child))
    return found
