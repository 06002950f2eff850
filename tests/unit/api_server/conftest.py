"""The real listener with the real services over a real SQLite file, and real boto3 as its client."""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore import model as botocore_model
from botocore.config import Config

from fanlight.api.appstream.app import ApiSettings, make_api_app
from fanlight.api.appstream.handlers import appstream_registry
from fanlight.api.audit import AuditLog
from fanlight.domain.access_keys import AccessKey
from fanlight.domain.images import Image, Visibility
from fanlight.domain.places import Scope
from fanlight.services import AppStreamServices
from fanlight.store import open_store

KEY = AccessKey(
    access_key_id="AKIDFANLIGHT",
    secret_access_key="secret/of+the+tests",
    account_id="000000000000",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class Api:
    """A listening API. `client` gives unmodified boto3 clients of either protocol."""

    url: str
    audit_file: Path
    services: AppStreamServices
    runner: web.AppRunner
    make_client: Callable[..., Any] = field(repr=False)

    def client(self, **arguments: Any) -> Any:
        return self.make_client(self.url, **arguments)


@pytest.fixture(params=["json", "smithy-rpc-v2-cbor"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make boto3 speak one protocol; tests that use this run in both."""
    return speak(request.param, monkeypatch)


def speak(protocol: str, monkeypatch: pytest.MonkeyPatch) -> str:
    order = [protocol, *(p for p in botocore_model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS if p != protocol)]
    monkeypatch.setattr(botocore_model, "PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", order)
    return protocol


def make_client(url: str, key: AccessKey = KEY, **arguments: Any) -> Any:
    return boto3.client(
        "appstream",
        endpoint_url=url,
        region_name=arguments.pop("region_name", "us-east-1"),
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
        config=Config(retries={"total_max_attempts": 1}, **arguments),
    )


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
    async with open_store(f"sqlite:///{tmp_path / 'fanlight.db'}") as store:
        await store.upgrade()
        services = AppStreamServices.build(
            transactions=store.transactions,
            clock=SystemClock(),
            wake=lambda *_: None,
            signing_key=b"k" * 32,
            portal_url="http://localhost:8080",
        )
        await services.access_keys.ensure(KEY.access_key_id, KEY.secret_access_key, KEY.account_id)
        async with store.transactions.begin(write=True) as work:
            await work.images.add(_image())
            await work.commit()
        audit = AuditLog(tmp_path / "audit" / "audit.jsonl")
        app = make_api_app(appstream_registry(), services, services.access_keys.find, settings, audit)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield Api(f"http://127.0.0.1:{port}", tmp_path / "audit" / "audit.jsonl", services, runner, make_client)
        await runner.cleanup()
        audit.close()


def _image() -> Image:
    return Image(
        image_id="img-1",
        scope=Scope("", ""),
        name="sample",
        store_ref="sample",
        visibility=Visibility.PUBLIC,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture(autouse=True)
def no_errors_in_the_log(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Any:
    """An error in the log is a failure of ours, unless the test says that it makes one."""
    yield
    if "makes_errors" not in request.fixturenames:
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture
def makes_errors() -> None:
    """Request this in a test whose server must log an error."""


def temporary(key: AccessKey, **changes: Any) -> AccessKey:
    return replace(key, **changes)
