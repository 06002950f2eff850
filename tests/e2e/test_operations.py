"""Backup, restore and uninstallation of a real data directory, with the real command and a database that is written to."""

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fanlight.config import Settings
from fanlight.domain.places import Scope
from fanlight.domain.stacks import Stack
from fanlight.installation import bootstrap_credentials, prepare_directories
from fanlight.operations.presence import is_lock, serving
from fanlight.services.image_files import ImageFiles
from fanlight.store import open_store

SCOPE = Scope("000000000000", "us-east-1")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def fanlight(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FANLIGHT_")}
    return subprocess.run(
        [sys.executable, "-m", "fanlight", *map(str, words)],
        env=kept | {"FANLIGHT_COMPUTE": "simulated", "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def simulated(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, compute="simulated")


async def add_stack(settings: Settings, name: str) -> None:
    async with open_store(settings.effective_database_url) as store:
        await store.upgrade()
        async with store.transactions.begin(write=True) as work:
            await work.stacks.add(Stack(stack_id=f"stack-{name}", scope=SCOPE, name=name, created_at=NOW))
            await work.commit()


async def stacks(settings: Settings) -> list[str]:
    async with open_store(settings.effective_database_url) as store, store.transactions.begin() as work:
        return [stack.name for stack in await work.stacks.page(SCOPE, limit=1000)]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An installation with a stack, an image and everything else that a backup holds, and a log that it does not."""
    settings = simulated(tmp_path / "data")
    prepare_directories(settings)
    bootstrap_credentials(settings)
    asyncio.run(add_stack(settings, "before"))
    data = settings.data_dir
    (data / "gateway" / "cookie.key").write_bytes(b"c" * 32)
    (data / "gateway" / "cookie.key").chmod(0o600)
    icons = data / "images" / "sample-1" / "icons"
    icons.mkdir(parents=True)
    (icons / "gimp.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (icons.parent / "catalogue.json").write_text("{}")
    ImageFiles(data).put_icons("img-1", {"0.png": b"\x89PNG\r\n\x1a\n"})
    (data / "audit" / "audit.jsonl").write_text("{}\n")
    return data


def everything_in(directory: Path) -> Mapping[str, tuple[int, bytes]]:
    return {
        path.relative_to(directory).as_posix(): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
        if not is_lock(path) and path.suffix not in (".db-wal", ".db-shm")
    }


@pytest.mark.parametrize("name", ["backup.tar.gz", "backup.tar.zst"])
def test_what_was_backed_up_is_there_again_on_another_host(tmp_path: Path, data_dir: Path, name: str) -> None:
    done = fanlight("backup", tmp_path / name, "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    done = fanlight("restore", tmp_path / name, "--yes", "--data-dir", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert asyncio.run(stacks(simulated(tmp_path / "other"))) == ["before"]
    before, after = everything_in(data_dir), everything_in(tmp_path / "other")
    left_out = {"audit", "audit/audit.jsonl", "run", "run/control", "run/instances", "runtime", "simulated"}
    assert set(after) == set(before) - left_out
    assert {p: v for p, v in after.items() if p != "state/fanlight.db"} == {
        p: v for p, v in before.items() if p in after and p != "state/fanlight.db"
    }


def test_a_restore_goes_back_in_time_and_keeps_what_was_there(tmp_path: Path, data_dir: Path) -> None:
    assert fanlight("backup", tmp_path / "b.tar.gz", "--data-dir", data_dir).returncode == 0
    asyncio.run(add_stack(simulated(data_dir), "after"))
    key = (data_dir / "state" / "signing.key").read_bytes()
    (data_dir / "state" / "signing.key").write_bytes(b"changed since")
    done = fanlight("restore", tmp_path / "b.tar.gz", "--yes", "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    assert asyncio.run(stacks(simulated(data_dir))) == ["before"]
    assert (data_dir / "state" / "signing.key").read_bytes() == key
    (aside,) = data_dir.glob("before-restore-*")
    assert aside.stat().st_mode & 0o777 == 0o700
    assert (aside / "state" / "signing.key").read_bytes() == b"changed since"
    assert (data_dir / "audit" / "audit.jsonl").exists(), "what a backup does not hold is left alone"


def test_the_toml_file_is_taken_along_and_put_beside_the_data(tmp_path: Path, data_dir: Path) -> None:
    config = tmp_path / "fanlight.toml"
    networks = tmp_path / "subnets.toml"
    networks.write_text('[subnets.subnet-a]\ncidr = "10.140.0.1/24"\n')
    config.write_text(f'data_dir = "{data_dir}"\nnetworks_file = "{networks}"\n')
    assert fanlight("backup", tmp_path / "b.tar.gz", FANLIGHT_CONFIG=str(config)).returncode == 0
    done = fanlight("restore", tmp_path / "b.tar.gz", "--yes", "--data-dir", tmp_path / "other")
    assert (tmp_path / "other" / "config.toml").read_text() == config.read_text()
    assert f"FANLIGHT_CONFIG={tmp_path}/other/config.toml" in done.stdout
    assert (tmp_path / "other" / "networks.toml").read_text() == networks.read_text()
    assert f"{tmp_path}/other/networks.toml" in done.stdout


@pytest.fixture
def writer(data_dir: Path) -> Iterator[threading.Event]:
    """Somebody who moves one unit between two rows, in transactions, as fast as SQLite lets them."""
    path = data_dir / "state" / "fanlight.db"
    with closing(sqlite3.connect(path)) as setup, setup:
        setup.execute("CREATE TABLE test_balance (name TEXT PRIMARY KEY, amount INTEGER, filling BLOB)")
        setup.executemany("INSERT INTO test_balance VALUES (?, 1000000, randomblob(4000000))", [("a",), ("b",)])
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            while not stop.is_set():
                with connection:
                    connection.execute("UPDATE test_balance SET amount = amount - 1 WHERE name = 'a'")
                    connection.execute("UPDATE test_balance SET amount = amount + 1 WHERE name = 'b'")
                connection.execute("SELECT 1")

    thread = threading.Thread(target=write)
    thread.start()
    yield stop
    stop.set()
    thread.join()


def test_a_backup_during_writes_shows_one_moment(tmp_path: Path, data_dir: Path, writer: threading.Event) -> None:
    for number in range(5):
        name = tmp_path / f"{number}.tar.gz"
        done = fanlight("backup", name, "--data-dir", data_dir)
        assert done.returncode == 0, done.stderr
        with tarfile.open(name) as tar:
            (tmp_path / f"{number}.db").write_bytes(tar.extractfile("state/fanlight.db").read())  # type: ignore[union-attr]
        with closing(sqlite3.connect(tmp_path / f"{number}.db")) as copy:
            amounts = [row[0] for row in copy.execute("SELECT amount FROM test_balance ORDER BY name")]
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert sum(amounts) == 2_000_000
        assert amounts[0] < 1_000_000, "the writer was at work"
    assert not writer.is_set()


def test_a_full_disk_leaves_no_archive(tmp_path: Path, data_dir: Path) -> None:
    """A file size limit fails the write in the same way, without a disk to fill."""
    with closing(sqlite3.connect(data_dir / "state" / "fanlight.db")) as setup, setup:
        setup.execute("CREATE TABLE filling AS SELECT randomblob(3000000) AS filling")
    for name in ("b.tar.gz", "b.tar.zst"):
        target = tmp_path / "disk" / name
        target.parent.mkdir(exist_ok=True)
        with mounted_tmpfs(target.parent, "5m"):
            done = fanlight("backup", target, "--data-dir", data_dir)
            assert (done.returncode, list(target.parent.iterdir())) == (1, []), done.stderr
            assert "disk is full" in done.stderr
            assert "Traceback" not in done.stderr


def mounted_tmpfs(path: Path, size: str) -> "closing[_Mount]":
    return closing(_Mount(path, size))


class _Mount:
    def __init__(self, path: Path, size: str) -> None:
        self._path = path
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("needs the right to mount")

    def close(self) -> None:
        subprocess.run(["umount", self._path], check=True)


def test_neither_restore_nor_uninstallation_while_the_service_runs(tmp_path: Path, data_dir: Path) -> None:
    assert fanlight("backup", tmp_path / "b.tar.gz", "--data-dir", data_dir).returncode == 0
    before = everything_in(data_dir)
    with serving(simulated(data_dir), "api"):
        assert fanlight("backup", tmp_path / "c.tar.gz", "--data-dir", data_dir).returncode == 0
        for command in (["restore", tmp_path / "b.tar.gz"], ["uninstall"]):
            done = fanlight(*command, "--yes", "--data-dir", data_dir)
            assert done.returncode == 1
            assert "is running" in done.stderr
    assert everything_in(data_dir) == before


def test_a_service_that_holds_no_lock_is_found_by_its_socket(tmp_path: Path, data_dir: Path) -> None:
    assert fanlight("backup", tmp_path / "b.tar.gz", "--data-dir", data_dir).returncode == 0
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data_dir / "run" / "control" / "control.sock"))
        listener.listen()
        done = fanlight("restore", tmp_path / "b.tar.gz", "--yes", "--data-dir", data_dir)
    assert done.returncode == 1
    assert "control.sock answers" in done.stderr


def rewritten(source: Path, target: Path, **changes: tuple[str, str]) -> Path:
    """Copy an archive with texts in its manifest replaced."""
    import gzip
    import io

    with tarfile.open(source) as old, gzip.open(target, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as new:
        for member in old:
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == "manifest.json":
                for before, after in changes.values():
                    assert before.encode() in content
                    content = content.replace(before.encode(), after.encode())
                member.size = len(content)
            member.pax_headers = {}
            new.addfile(member, io.BytesIO(content))
    return target


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"fanlight_version": "0.1.0"', '"fanlight_version": "99.0.0"'), "install that version"),
        (('"format": 1', '"format": 2'), "install that version"),
        (('"schema_revision": "', '"schema_revision": "f'), "newer Fanlight wrote it"),
        (('"database": "sqlite"', '"database": "postgresql"'), "FANLIGHT_DATABASE_URL"),
    ],
)
def test_a_backup_that_does_not_fit_changes_nothing(
    tmp_path: Path, data_dir: Path, change: tuple[str, str], words: str
) -> None:
    assert fanlight("backup", tmp_path / "b.tar.gz", "--data-dir", data_dir).returncode == 0
    before = everything_in(data_dir)
    other = rewritten(tmp_path / "b.tar.gz", tmp_path / "other.tar.gz", change=change)
    done = fanlight("restore", other, "--yes", "--data-dir", data_dir)
    assert done.returncode == 1
    assert words in done.stderr.replace("\n", " ")
    assert everything_in(data_dir) == before


def test_a_link_in_the_place_of_a_key_is_not_followed(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "secret").write_text("somebody else's")
    (data_dir / "gateway" / "cookie.key").unlink()
    (data_dir / "gateway" / "cookie.key").symlink_to(tmp_path / "secret")
    done = fanlight("backup", tmp_path / "b.tar.gz", "--data-dir", data_dir)
    assert done.returncode == 1
    assert "cookie.key" in done.stderr
    assert not (tmp_path / "b.tar.gz").exists()


def test_without_an_installation_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    done = fanlight("backup", tmp_path / "b.tar.gz", "--data-dir", tmp_path / "none")
    assert done.returncode == 1
    assert "no database" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_uninstallation_asks_for_each_part_and_takes_only_what_is_ours(tmp_path: Path, data_dir: Path) -> None:
    done = fanlight("uninstall", "--data-dir", data_dir)
    assert done.returncode == 1, "nobody answered"
    assert "Remove" in done.stdout
    assert (data_dir / "state").exists()
    (data_dir / "holiday.jpg").write_text("the operator's own")
    done = fanlight("uninstall", "--yes", "--data-dir", data_dir)
    assert done.returncode == 1
    assert "holiday.jpg" in done.stderr
    assert [path.name for path in data_dir.iterdir() if not is_lock(path)] == ["holiday.jpg"]
    (data_dir / "holiday.jpg").unlink()
    done = fanlight("uninstall", "--yes", "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    done = fanlight("uninstall", "--yes", "--data-dir", data_dir)
    assert (done.returncode, done.stdout.strip()) == (0, "There is nothing to remove.")


def test_a_whole_uninstallation_leaves_no_directory(data_dir: Path) -> None:
    done = fanlight("uninstall", "--yes", "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    assert not data_dir.exists()


def test_an_uninstallation_can_keep_the_data(data_dir: Path) -> None:
    before = everything_in(data_dir)
    done = fanlight("uninstall", "--yes", "--keep-data", "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    assert {p: v for p, v in before.items() if p.split("/")[0] != "run"} == everything_in(data_dir)


def test_a_mounted_file_system_in_the_data_stops_the_removal(tmp_path: Path, data_dir: Path) -> None:
    (data_dir / "runtime" / "mnt").mkdir()
    with mounted_tmpfs(data_dir / "runtime" / "mnt", "1m"):
        (data_dir / "runtime" / "mnt" / "file").write_text("not ours")
        done = fanlight("uninstall", "--yes", "--data-dir", data_dir)
        assert done.returncode == 1
        assert "umount" in done.stderr
        assert (data_dir / "runtime" / "mnt" / "file").read_text() == "not ours"
