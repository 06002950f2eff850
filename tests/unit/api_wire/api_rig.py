"""What the tests of the wire share: the model, signed requests, and botocore as the other side."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fanlight.api.protocol.sigv4 import SignedRequest
from fanlight.domain.access_keys import AccessKey

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
NOW = datetime(2026, 11, 21, 6, 0, 0, tzinfo=UTC)
KEY = AccessKey(
    access_key_id="AKIDFANLIGHT", secret_access_key="s3cr3t/+secret", account_id="000000000000", created_at=NOW
)
TEMPORARY = AccessKey(
    access_key_id="ASIAFANLIGHT",
    secret_access_key="temporary-secret",
    account_id="000000000000",
    session_token="a-token-of-an-hour",
    expires_at=NOW + timedelta(hours=1),
    created_at=NOW,
)
EXPIRED = AccessKey(
    access_key_id="ASIAEXPIRED",
    secret_access_key="temporary-secret",
    account_id="000000000000",
    session_token="a-token-of-yesterday",
    expires_at=NOW - timedelta(seconds=1),
    created_at=NOW,
)
KEYS = {key.access_key_id: key for key in (KEY, TEMPORARY, EXPIRED)}


async def find_key(access_key_id: str) -> AccessKey | None:
    return KEYS.get(access_key_id)


@dataclass
class Signer:
    """Signs as boto3 does, at a time of the test's choice."""

    key: AccessKey = KEY
    region: str = "us-east-1"
    service: str = "appstream"
    at: datetime = NOW

    def sign(
        self,
        *,
        body: bytes = b"{}",
        url: str = "http://127.0.0.1:8081/",
        method: str = "POST",
        headers: dict[str, str] | None = None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> SignedRequest:
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: self.at)
        request = AWSRequest(
            method,
            url,
            {"X-Amz-Target": "PhotonAdminProxyService.DescribeFleets", "User-Agent": "Boto3/1", **(headers or {})},
            body,
        )
        credentials = Credentials(self.key.access_key_id, self.key.secret_access_key, self.key.session_token)
        SigV4Auth(credentials, self.service, self.region).add_auth(request)
        found = {name.lower(): [str(value)] for name, value in request.headers.items()}
        found.setdefault("host", ["127.0.0.1:8081"])
        path, _, query = url.partition("8081")[2].partition("?")
        return SignedRequest(method, path, query, found, body)


def load_vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))
