"""Print the benchmark table: every bar of the project, measured on this machine in this run.

    scripts/bench [--only NAME ...] [--quick]

The numbers behind it go to bench-results/<time>.json. Exits with 1 when a bar is missed.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests")]

from benchmarks import api, folders, gateway, images, streams  # noqa: E402 - found through the lines above
from benchmarks.rows import Row  # noqa: E402

BENCHMARKS: dict[str, Callable[..., list[Row]]] = {
    "first-frame": streams.measure_first_frames,
    "gateway": gateway.measure,
    "api": api.measure,
    "fleet": streams.measure_fleet,
    "images": images.measure,
    "folders": folders.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the benchmark table.")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="measure this alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: to see that it works, not how fast")
    given = parser.parse_args()
    console = Console(stderr=True)
    rows: list[Row] = []
    for name in given.only or BENCHMARKS:
        with console.status(name) as status:
            began = time.monotonic()
            rows += BENCHMARKS[name](lambda step, name=name: status.update(f"{name}: {step}"), is_quick=given.quick)
            console.print(f"{name}: {time.monotonic() - began:.0f} s", style="dim")
    Console(width=None if sys.stdout.isatty() else 160).print(table(rows))
    console.print(f"Numbers: {save(rows, is_quick=given.quick)}", style="dim")
    return 1 if any(row.is_met is False for row in rows) else 0


def table(rows: list[Row]) -> Table:
    made = Table("what", "figure", "bar", "", "alternative", "ratio", title=f"Fanlight on {machine()}")
    for row in rows:
        mark = {True: "[green]met[/]", False: "[bold red]MISSED[/]", None: ""}[row.is_met]
        made.add_row(row.name, row.figure, row.bar, mark, row.alternative, row.ratio)
    return made


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{Path('/proc/cpuinfo').read_text().count('processor')} cores, {model}, Linux {platform.release()}"


def save(rows: list[Row], *, is_quick: bool) -> Path:
    now = datetime.now(UTC)
    path = ROOT / "bench-results" / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    content = {"at": now.isoformat(), "machine": machine(), "quick": is_quick, "rows": [row.to_json() for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
