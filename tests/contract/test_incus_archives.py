# ruff: noqa: PTH115 - links of /proc are texts, not paths
"""Images out of Incus and in again, through the compute process and its confined reader: what comes back runs."""

import asyncio
import contextlib
import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import zstandard
from PIL import Image

from archive_samples import member, symlink, tar, usable
from fanlight.domain.image_archives import ArchiveNotTaken, GivenCatalogue, ImageArchives
from fanlight.drivers.incus.archives import IncusImageArchives
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.images import IncusImageStore
from fanlight.drivers.incus.process import ComputeServer
from fanlight.drivers.incus.remote import ComputeConnection
from fanlight.drivers.incus.remote_archives import RemoteImageArchives
from incus_rig import IncusRig, empty, incus_rig, running

pytestmark = pytest.mark.incus
PUBLISHED, TAKEN = "img-" + "0" * 32, "img-" + "1" * 32
REGION = "us-east-1"
CATALOGUE = GivenCatalogue(programs={"shell": "/bin/sh"}, icons={"shell": "/usr/share/pixmaps/shell.png"})


@pytest.fixture(scope="module")
def rig() -> Iterator[IncusRig]:
    with incus_rig() as made:
        yield made


@contextlib.asynccontextmanager
async def archives_of(rig: IncusRig) -> AsyncIterator[tuple[ImageArchives, IncusImageStore, IncusDriver]]:
    driver = IncusDriver(rig.settings)
    await driver.prepare()
    store = IncusImageStore(driver.client, rig.settings.incus_pool)
    local = IncusImageArchives(rig.settings.data_dir / "incoming", lambda _: store)
    connection = ComputeConnection(rig.run_dir)
    try:
        async with ComputeServer(rig.settings, driver, store, local):
            yield RemoteImageArchives(connection), store, driver
            await connection.close()
    finally:
        await empty(rig.settings)
        for image in await store.observe():
            if image.ref.startswith("img-"):
                await store.delete(image.ref)
        await driver.close()


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 2**20):
        yield data[start : start + 2**20]


async def saved(stream: AsyncIterator[bytes], path: Path) -> None:
    with path.open("wb") as file:
        async for chunk in stream:
            file.write(chunk)


async def chunks_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            yield chunk


def with_what_a_session_needs(archive: Path, target: Path) -> dict[str, bytes]:
    """Add stand-ins of the programs and accounts that the tiny image lacks; return what was in it, by kind."""
    icon = io.BytesIO()
    Image.new("RGB", (400, 400), (10, 90, 200)).save(icon, "PNG")
    added = {
        info.name.removeprefix("./"): (info, content)
        for info, content in [*usable(), member("./usr/share/pixmaps/shell.png", icon.getvalue())]
        if info.isreg()
    }
    kinds = {}
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as plain,
        tarfile.open(fileobj=plain, mode="r|") as opened,
        tarfile.open(target, "w") as made,
    ):
        for info in opened:
            kinds[info.name.removeprefix("./")] = info.type
            if info.name.removeprefix("./") not in added:
                made.addfile(info, opened.extractfile(info) if info.isreg() else None)
        for info, content in added.values():
            made.addfile(info, io.BytesIO(content))
    return kinds


async def test_an_image_that_was_published_leaves_and_comes_back_and_runs(rig: IncusRig, tmp_path: Path) -> None:
    async with archives_of(rig) as (archives, store, driver):
        spec = rig.new_spec()
        await driver.launch(spec)
        await running(driver, spec)
        await rig.run_in(spec.instance_id, "/bin/busybox", "sh", "-c", "echo kept >/root-was-here; mkfifo /pipe")
        await driver.stop(spec.instance_id)
        await store.publish(spec.instance_id, PUBLISHED, {})
        await saved(archives.give(PUBLISHED, REGION), tmp_path / "out.tar.zst")
        kinds = with_what_a_session_needs(tmp_path / "out.tar.zst", tmp_path / "in.tar")
        assert kinds["root-was-here"] == tarfile.REGTYPE
        assert not {"pipe", "metadata.yaml"} & set(kinds)
        assert not any(name.startswith(("rootfs", "templates")) for name in kinds)
        report = await archives.take(TAKEN, REGION, chunks_of(tmp_path / "in.tar"), CATALOGUE, {"a": "b"})
        assert report.icons["shell"].startswith(b"\x89PNG")
        report = await archives.take(TAKEN, REGION, chunks_of(tmp_path / "in.tar"), None, {"a": "b"})
        assert [application.name for application in report.applications] == ["edit"]
        assert [image.properties["a"] for image in await store.observe() if image.ref == TAKEN] == ["b"]
        again = rig.new_spec(image_ref=TAKEN)
        await driver.launch(again)
        await running(driver, again)
        said = await rig.run_in(again.instance_id, "/bin/busybox", "cat", "/root-was-here")
        assert said.output.strip() == "kept"
        # What came in as two files leaves as well.
        await saved(archives.give(TAKEN, REGION), tmp_path / "again.tar.zst")
        assert (
            with_what_a_session_needs(tmp_path / "again.tar.zst", tmp_path / "x.tar")["root-was-here"]
            == tarfile.REGTYPE
        )


async def test_a_hostile_archive_never_reaches_the_engine_and_leaves_nothing(rig: IncusRig) -> None:
    async with archives_of(rig) as (archives, store, _):
        evil = tar([symlink("etc", "/etc"), member("etc/passwd", b"root::0:0::/:/bin/sh\n")])
        with pytest.raises(ArchiveNotTaken, match="Something stands below 'etc'"):
            await archives.take(TAKEN, REGION, chunks(evil), None, {})
        with pytest.raises(ArchiveNotTaken, match="lacks what a session needs"):
            await archives.take(TAKEN, REGION, chunks(tar(usable()[:3])), None, {})
        assert TAKEN not in {image.ref for image in await store.observe()}
        assert list((rig.settings.data_dir / "incoming").iterdir()) == []


async def test_the_reader_has_no_network_no_files_and_no_privilege(rig: IncusRig, tmp_path: Path) -> None:
    """Looked at from outside while it waits for an archive that does not end."""
    from fanlight.archives.spawn import read_archive

    tmp_path.chmod(stat.S_IRWXU)
    fifo, out = tmp_path / "archive", tmp_path / "out"
    padding = [member(f"srv/{number}", os.urandom(2**20)) for number in range(200)]
    fifo.write_bytes(tar([*usable(), *padding]))
    reading = asyncio.create_task(read_archive(fifo, out))
    seen = None
    async with asyncio.timeout(60):
        while seen is None:
            await asyncio.sleep(0.01)
            seen = next(filter(None, map(_confined, Path("/proc").glob("[0-9]*"))), None)
    await reading
    status, root, network, descriptors = seen
    assert "Uid:\t2147000001\t2147000001" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert root.startswith(str(tmp_path))
    assert network != os.readlink("/proc/self/ns/net")
    assert not any(target.startswith("socket:") for target in descriptors)


def _confined(process: Path) -> tuple[str, str, str, list[str]] | None:
    try:
        if b"fanlight.archives.confined" not in (process / "cmdline").read_bytes():
            return None
        status = (process / "status").read_text()
        if "Uid:\t2147000001" not in status:
            return None
        descriptors = [os.readlink(one) for one in (process / "fd").iterdir()]
        return status, os.readlink(process / "root"), os.readlink(process / "ns" / "net"), descriptors
    except OSError:
        return None
