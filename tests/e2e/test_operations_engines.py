"""Operations against what stands beside Fanlight: PostgreSQL, Incus, systemd's own checker, and TLS clients."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from contract.postgres_rig import find_binaries, postgres_server
from fanlight.config import Settings
from fanlight.domain.places import Scope
from fanlight.domain.stacks import Stack
from fanlight.drivers.incus.client import IncusClient
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.installation import bootstrap_credentials, prepare_directories
from fanlight.operations import incus_removals, systemd, uninstalls
from fanlight.operations.certificates import make_self_signed
from fanlight.operations.removals import Finding, Removal, Spared
from fanlight.store import open_store
from incus_rig import IncusRig, incus_rig, running

SCOPE = Scope("000000000000", "us-east-1")


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


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    binaries = find_binaries()
    if binaries is None or not shutil.which("pg_dump"):
        pytest.skip("PostgreSQL is not installed")
    with postgres_server(binaries) as url:
        yield url


async def add_stack(url: str, name: str) -> None:
    async with open_store(url) as store:
        await store.upgrade()
        async with store.transactions.begin(write=True) as work:
            await work.stacks.add(Stack(stack_id=f"id-{name}", scope=SCOPE, name=name, created_at=datetime.now(UTC)))
            await work.commit()


async def stacks(url: str) -> list[str]:
    async with open_store(url) as store, store.transactions.begin() as work:
        return [stack.name for stack in await work.stacks.page(SCOPE, limit=1000)]


def new_database(server: str, name: str) -> str:
    host = urlsplit(server).query.removeprefix("host=")
    subprocess.run(["createdb", "-h", host, "-U", "fanlight", name], check=True)
    return f"postgresql+asyncpg://fanlight@/{name}?host={host}"


@pytest.mark.postgres
def test_a_postgresql_database_goes_back_in_time_and_to_another_server(tmp_path: Path, server: str) -> None:
    url = new_database(server, "first")
    settings = Settings(data_dir=tmp_path / "data", compute="simulated", database_url=url)
    prepare_directories(settings)
    bootstrap_credentials(settings)
    asyncio.run(add_stack(url, "before"))
    flags = ("--data-dir", settings.data_dir, "--database-url", url)
    done = fanlight("backup", tmp_path / "b.tar.gz", *flags)
    assert done.returncode == 0, done.stderr
    asyncio.run(add_stack(url, "after"))
    done = fanlight("restore", tmp_path / "b.tar.gz", "--yes", *flags)
    assert done.returncode == 0, done.stderr
    assert asyncio.run(stacks(url)) == ["before"]
    (aside,) = settings.data_dir.glob("before-restore-*")
    assert (aside / "database.pgdump").stat().st_mode & 0o777 == 0o600
    assert not (settings.data_dir / "state" / "database.pgdump").exists()
    other = new_database(server, "second")
    done = fanlight(
        "restore", tmp_path / "b.tar.gz", "--yes", "--data-dir", tmp_path / "other", "--database-url", other
    )
    assert done.returncode == 0, done.stderr
    assert asyncio.run(stacks(other)) == ["before"]


@pytest.mark.postgres
def test_a_dump_that_postgresql_refuses_leaves_files_and_database_as_they_were(tmp_path: Path, server: str) -> None:
    url = new_database(server, "third")
    settings = Settings(data_dir=tmp_path / "data", compute="simulated", database_url=url)
    prepare_directories(settings)
    asyncio.run(add_stack(url, "before"))
    flags = ("--data-dir", settings.data_dir, "--database-url", url)
    assert fanlight("backup", tmp_path / "b.tar.gz", *flags).returncode == 0
    asyncio.run(add_stack(url, "after"))
    host = urlsplit(server).query.removeprefix("host=")
    # A view of somebody else's that needs a table of ours: the restore cannot drop it, so the transaction fails.
    sql = "CREATE VIEW theirs AS SELECT * FROM alembic_version"
    subprocess.run(["psql", "-q", "-h", host, "-U", "fanlight", "-d", "third", "-c", sql], check=True)
    key = (settings.data_dir / "state" / "signing.key").read_bytes()
    done = fanlight("restore", tmp_path / "b.tar.gz", "--yes", *flags)
    assert done.returncode == 1
    assert "pg_restore failed" in done.stderr
    assert sorted(asyncio.run(stacks(url))) == ["after", "before"]
    assert (settings.data_dir / "state" / "signing.key").read_bytes() == key
    assert not (settings.data_dir / "state" / "database.pgdump").exists()


@pytest.mark.postgres
def test_without_pg_dump_a_backup_says_what_to_install(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", compute="simulated")
    prepare_directories(settings)
    url = "postgresql://u:hunter2@127.0.0.1:1/x"
    done = fanlight(
        "backup", tmp_path / "b.tar.gz", "--data-dir", settings.data_dir, "--database-url", url, PATH="/none"
    )
    assert done.returncode == 1
    assert "postgresql-client" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


# ── Incus ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rig() -> Iterator[IncusRig]:
    with incus_rig() as made:
        yield made


async def everything(settings: Settings) -> set[str]:
    """Return what Incus has outside our project, where a mistake would hurt somebody."""
    async with IncusClient(settings.incus_socket, "default") as client:
        kinds = ("projects", "storage-pools", "networks", "network-acls", "instances", "images", "profiles")
        found = {path for kind in kinds for path in await client.get(kind)}
    # Other tests make and remove their own at the same time; all have names like ours.
    own = settings.incus_project
    return {path for path in found if own in path or not path.rpartition("/")[2].startswith(("fl", "fanlight-tests"))}


async def launch_two(rig: IncusRig) -> None:
    driver = IncusDriver(rig.settings)
    try:
        await driver.prepare()
        await running(driver, rig.new_spec(), rig.new_spec(has_internet_access=True))
    finally:
        await driver.close()


def ours(findings: list[Finding]) -> list[Removal]:
    return [finding for finding in findings if isinstance(finding, Removal)]


@pytest.mark.incus
def test_an_uninstallation_removes_all_of_ours_from_incus_and_nothing_else(rig: IncusRig) -> None:
    asyncio.run(launch_two(rig))
    name = rig.settings.incus_project
    before = asyncio.run(everything(rig.settings))
    removals = ours([*incus_removals.survey(rig.settings), *uninstalls.survey_run_dir(rig.settings)])
    assert [removal.what.split(" ", 1)[1] if "Incus" in removal.what else removal.what for removal in removals] == [
        f"project {name}",
        f"network {name}",
        f"network ACL {name}",
        f"nftables table inet fanlight_{name}",
        f"storage pool {name}",
        str(rig.run_dir),
    ]
    assert removals[0].detail == "2 instances, 1 images"
    for removal in removals:
        removal.remove()
        removal.remove()  # each may be repeated
    after = asyncio.run(everything(rig.settings))
    assert before - after == {
        f"/1.0/projects/{name}",
        f"/1.0/networks/{name}",
        f"/1.0/network-acls/{name}",
        f"/1.0/storage-pools/{name}",
    }
    assert after <= before
    assert not rig.run_dir.exists()
    assert str(rig.run_dir) not in Path("/proc/self/mountinfo").read_text()
    assert incus_removals.survey(rig.settings) == []


@pytest.mark.incus
def test_what_has_our_names_but_not_our_mark_stays(rig: IncusRig) -> None:
    async def take_marks_away() -> None:
        name = rig.settings.incus_project
        async with IncusClient(rig.settings.incus_socket, "default") as client:
            for path in (f"projects/{name}", f"networks/{name}", f"network-acls/{name}", f"storage-pools/{name}"):
                await client.send("PATCH" if "acls" not in path else "PUT", path, {"description": "the operator's own"})

    asyncio.run(take_marks_away())
    findings = incus_removals.survey(rig.settings)
    assert [type(finding) for finding in findings] == [Spared, Spared, Spared, Removal, Spared]
    assert "nftables" in findings[3].what


# ── systemd ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_systemd_itself_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    systemd.install(Settings(data_dir=tmp_path / "data dir"), units=tmp_path, etc=tmp_path / "etc", config=None)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.glob("fanlight*")))],
        capture_output=True,
        text=True,
        check=False,
    )
    ours_only = [line for line in done.stderr.splitlines() if "fanlight" in line]
    assert (done.returncode, ours_only) == (0, [])


@pytest.mark.parametrize(
    ("unit", "most"), [("api", 3.0), ("gateway", 3.0), ("prepare", 3.5), ("storage", 3.0), ("compute", 6.4)]
)
def test_systemd_finds_the_processes_well_confined(tmp_path: Path, unit: str, most: float) -> None:
    """Its scale goes from 0 to 10, where an unconfined root service has 9.6."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    systemd.install(Settings(), units=tmp_path, etc=tmp_path / "etc", config=None)
    path = tmp_path / f"fanlight-{unit}.service"
    subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={most * 10:.0f}", "--no-pager", str(path)],
        check=True,
        capture_output=True,
    )


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def serve_once(made_cert: Path, made_key: Path, name: str) -> str:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(made_cert, made_key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=served)
    trusting = ssl.create_default_context(cafile=str(made_cert))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT  # what newer Pythons set by default
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
        version: str = writer.get_extra_info("ssl_object").version()
        writer.close()
        return version


def test_a_client_that_trusts_the_certificate_connects_by_each_of_its_names(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, compute="simulated")
    made = make_self_signed(settings, ["apps.example.org", "127.0.0.1"], is_forced=False, now=datetime.now(UTC))
    for name in ("apps.example.org", "127.0.0.1"):
        assert asyncio.run(serve_once(made.cert, made.key, name)) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        asyncio.run(serve_once(made.cert, made.key, "other.example.org"))
