"""How long an image takes from an image builder's instance to the twentieth instance that is launched from it."""

import asyncio
import secrets
import statistics
import time
from typing import Any

from benchmarks.rows import Report, Row
from fanlight.domain.ports import InstanceSpec, Power
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.images import IncusImageStore
from images_rig import SAMPLE, guest, image_rig
from incus_rig import IncusRig

PUBLISH_BAR_IN_SECONDS, LAUNCH_BAR_IN_SECONDS = 60.0, 1.0
LAUNCHES, QUICK_LAUNCHES = 20, 4
REFS = {"zstd": "img-" + "a" * 32, "none": "img-" + "b" * 32}
WORDS = {"zstd": "compressed (zstd)", "none": "not compressed"}


def measure(report: Report, *, is_quick: bool) -> list[Row]:
    """Publish the sample image with and without compression, and launch instances of each, one after another."""
    report("building the images")
    with image_rig() as rig:
        return asyncio.run(_measure(rig, report, QUICK_LAUNCHES if is_quick else LAUNCHES))


async def _measure(rig: IncusRig, report: Report, launches: int) -> list[Row]:
    driver = IncusDriver(rig.settings)
    await driver.prepare()
    store = IncusImageStore(driver.client, rig.settings.incus_pool)
    rows = []
    try:
        async with guest(rig) as builder:
            await builder.until_phase("READY", timeout=60)
            await driver.stop(builder.instance_id)
            for compression, ref in REFS.items():
                report(f"publishing, {WORDS[compression]}")
                began = time.monotonic()
                await store.publish(builder.instance_id, ref, {}, compression=compression)
                published = time.monotonic() - began
                rows.append(_publish_row(compression, published, await _size(store, ref)))
                await store.warm(ref)
                report(f"launching {launches} instances, {WORDS[compression]}")
                taken = await _launch(driver, rig, ref, launches)
                rows.append(_launch_row(compression, taken))
                await store.delete(ref)
    finally:
        await driver.close()
    return rows


async def _launch(driver: IncusDriver, rig: IncusRig, ref: str, launches: int) -> list[float]:
    """Return the seconds from each launch to the instance that runs; all run until the last does."""
    runtime = (rig.settings.data_dir / "runtime" / "current").resolve().name
    names: list[str] = []
    taken = []
    try:
        for _ in range(launches):
            spec = InstanceSpec(
                instance_id=f"i-{secrets.token_hex(6)}",
                image_ref=ref,
                cpu_count=1,
                memory_in_mib=1024,
                disk_in_gib=6,
                has_internet_access=False,
                labels={"runtime_version": runtime},
            )
            names.append(spec.instance_id)
            began = time.monotonic()
            await driver.launch(spec)
            while not await _runs(driver, spec.instance_id):  # noqa: ASYNC110 - the engine is asked, it does not tell
                await asyncio.sleep(0.01)
            taken.append(time.monotonic() - began)
    finally:
        for name in names:
            await driver.terminate(name)
    return taken


async def _runs(driver: IncusDriver, instance_id: str) -> bool:
    return any(one.instance_id == instance_id and one.power is Power.RUNNING for one in await driver.observe())


async def _size(store: IncusImageStore, ref: str) -> int:
    return next(image.size_in_bytes for image in await store.observe() if image.ref == ref)


def _publish_row(compression: str, seconds: float, size: int) -> Row:
    return Row(
        name=f"publishing the sample image from a stopped instance, {WORDS[compression]}",
        figure=f"{seconds:.1f} s, {size / 2**20:.0f} MiB",
        bar=f"< {PUBLISH_BAR_IN_SECONDS:.0f} s",
        is_met=seconds < PUBLISH_BAR_IN_SECONDS,
        details={"seconds": seconds, "bytes": size, "compression": compression, "image": SAMPLE},
    )


def _launch_row(compression: str, taken: list[float]) -> Row:
    details: dict[str, Any] = {"seconds": taken, "compression": compression}
    return Row(
        name=f"launching instance {len(taken)} of that image until it runs, {WORDS[compression]}",
        figure=f"{taken[-1]:.2f} s (median of all {statistics.median(taken):.2f} s)",
        bar=f"< {LAUNCH_BAR_IN_SECONDS:.0f} s",
        is_met=taken[-1] < LAUNCH_BAR_IN_SECONDS,
        details=details,
    )
