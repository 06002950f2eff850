"""What the gateway costs a stream, from `bench_gateway`, as rows of the table."""

from dataclasses import asdict

import bench_gateway

from benchmarks.rows import Report, Row

DELAY_BAR_IN_MS, RATE_BAR_IN_GBIT = 1.0, 2.0


def measure(report: Report, *, is_quick: bool) -> list[Row]:  # noqa: ARG001 - it takes seconds anyway
    report("round trips and a flood, direct and through the gateway")
    found = bench_gateway.measure()
    return [
        Row(
            name="gateway: added to a round trip of 64 bytes",
            figure=f"p99 {found.added_p99:.3f} ms, median {found.added_p50:.3f} ms",
            bar=f"p99 < {DELAY_BAR_IN_MS:.0f} ms",
            alternative=f"direct: p99 {found.direct_p99:.3f} ms; through the gateway: {found.relayed_p99:.3f} ms",
            ratio=f"{found.relayed_p99 / found.direct_p99:.1f}",
            is_met=found.added_p99 < DELAY_BAR_IN_MS,
            details=asdict(found),
        ),
        Row(
            name="gateway: throughput of one stream",
            figure=f"{found.relayed_rate:.1f} Gbit/s; {found.relayed_rate_per_core:.1f} Gbit/s per core of its own",
            bar=f"> {RATE_BAR_IN_GBIT:.0f} Gbit/s on one core",
            alternative=f"direct: {found.direct_rate:.1f} Gbit/s",
            ratio=f"{found.relayed_rate / found.direct_rate:.2f}",
            is_met=found.relayed_rate_per_core > RATE_BAR_IN_GBIT,
        ),
    ]
