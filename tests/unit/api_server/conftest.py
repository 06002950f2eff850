"""The real listener with the real services over a real SQLite file, and real boto3 as its client."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from api_server_rig import KEY, Api, SystemClock, make_client, sample_image, speak

from databases import lay_database
from fanlight.api.audit import AuditLog
from fanlight.api.catalogue import aws_services
from fanlight.api.listener import ApiSettings, make_api_app, make_api_runner
from fanlight.services import AppStreamServices
from fanlight.services.image_files import ImageFiles
from fanlight.store import open_store


@pytest.fixture(params=["json", "smithy-rpc-v2-cbor"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make boto3 speak one protocol; tests that use this run in both."""
    return speak(request.param, monkeypatch)


@pytest.fixture
def settings() -> ApiSettings:
    return ApiSettings(
        regions=("us-east-1", "eu-west-1"),
        is_strict=True,
        body_timeout=timedelta(seconds=1),
        trusted_proxies=("127.0.0.1",),
    )


@pytest.fixture
async def api(tmp_path: Path, settings: ApiSettings) -> AsyncIterator[Api]:
    async with open_store(lay_database(tmp_path / "fanlight.db")) as store:
        services = AppStreamServices.build(
            transactions=store.transactions,
            clock=SystemClock(),
            wake=lambda *_: None,
            image_files=ImageFiles(tmp_path),
            signing_key=b"k" * 32,
            portal_url="http://localhost:8080",
            regions=settings.regions,
        )
        await services.access_keys.ensure(KEY.access_key_id, KEY.secret_access_key, KEY.account_id)
        async with store.transactions.begin(write=True) as work:
            await work.images.add(sample_image())
            await work.commit()
        audit = AuditLog(tmp_path / "audit" / "audit.jsonl")
        app = make_api_app(
            aws_services(),
            services,
            services.access_keys.find,
            settings,
            audit,
            revision=store.transactions.revision,
        )
        runner = make_api_runner(app, shutdown_timeout=timedelta(seconds=0.5))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield Api(f"http://127.0.0.1:{port}", tmp_path / "audit" / "audit.jsonl", services, runner, make_client)
        await runner.cleanup()
        audit.close()


@pytest.fixture(autouse=True)
def no_errors_in_the_log(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Any:
    """An error in the log is a failure of ours, unless the test says that it makes one."""
    yield
    if "makes_errors" not in request.fixturenames:
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture
def makes_errors() -> None:
    """Request this in a test whose server must log an error."""
