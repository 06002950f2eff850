"""The other side and the surroundings of the API under test: a key, an image, clients of either protocol."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore import model as botocore_model
from botocore.config import Config

from fanlight.domain.access_keys import AccessKey
from fanlight.domain.images import Image, Visibility
from fanlight.domain.places import Scope
from fanlight.services import AppStreamServices

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


def speak(protocol: str, monkeypatch: pytest.MonkeyPatch) -> str:
    order = [protocol, *(p for p in botocore_model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS if p != protocol)]
    monkeypatch.setattr(botocore_model, "PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", order)
    return protocol


def make_client(url: str, key: AccessKey = KEY, service: str = "appstream", **arguments: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=arguments.pop("region_name", "us-east-1"),
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
        config=Config(retries={"total_max_attempts": 1}, **arguments),
    )


def sample_image() -> Image:
    return Image(
        image_id="img-1",
        scope=Scope("", ""),
        name="sample",
        store_ref="sample",
        visibility=Visibility.PUBLIC,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def temporary(key: AccessKey, **changes: Any) -> AccessKey:
    return replace(key, **changes)
