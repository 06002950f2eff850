"""The listener with Nimble Studio's services over a real SQLite file, and who settles what they are asked."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from databases import lay_database
from fanlight.api.audit import AuditLog
from fanlight.api.catalogue import aws_services
from fanlight.api.listener import ApiSettings, make_api_app, make_api_runner
from fanlight.domain.quotas import read_quotas
from fanlight.services import AppStreamServices
from fanlight.services.image_files import ImageFiles
from fanlight.store import open_store
from nimble_rig import EULAS, KEY, NEW_STUDIO, Clock, Nimble, Studio, ask, write_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def quotas() -> str:
    return "off"


@pytest.fixture
def writes_per_second() -> float:
    """For tests of throttling; 0: as often as one likes."""
    return 0.0


@pytest.fixture
def database() -> Iterator[Path]:
    """Where the database is to be: in memory where that can be, for no test here asks what a disk keeps and each write waits for it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="fl-", dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory) / "fanlight.db"


@pytest.fixture
async def nimble(
    models: Path, tmp_path: Path, database: Path, quotas: str, writes_per_second: float
) -> AsyncIterator[Nimble]:
    clock, portal, woken = Clock(), ["http://localhost:8080"], set[str]()
    async with open_store(lay_database(database)) as store:
        services = AppStreamServices.build(
            transactions=store.transactions,
            clock=clock,
            wake=lambda kind, key: woken.add(f"{kind} {key}"),
            image_files=ImageFiles(tmp_path),
            signing_key=b"k" * 32,
            portal_url=lambda: portal[0],
            quotas=read_quotas(quotas),
            eulas=EULAS,
        )
        await services.access_keys.ensure(KEY.access_key_id, KEY.secret_access_key, KEY.account_id)
        audit = AuditLog(tmp_path / "audit.jsonl")
        settings = ApiSettings(regions=("us-east-1", "us-west-2"), is_strict=True, writes_per_second=writes_per_second)
        revision = store.transactions.revision
        app = make_api_app(aws_services(), services, services.access_keys.find, settings, audit, revision=revision)
        runner = make_api_runner(app, shutdown_timeout=timedelta(seconds=0.5))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield Nimble(url, store, services, clock, models, tmp_path / "audit.jsonl", portal, woken)
        await runner.cleanup()
        audit.close()


@pytest.fixture
async def studio(nimble: Nimble) -> Studio:
    client = nimble.client()
    made = await ask(client.create_studio, **NEW_STUDIO)
    await nimble.settle()
    return Studio(nimble, made["studio"]["studioId"], client)
