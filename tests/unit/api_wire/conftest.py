"""Fixtures of the tests of the wire."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from api_rig import NOW, Signer, find_key

from fanlight.api.protocol.sigv4 import SignedRequest, Verifier
from fanlight.domain.access_keys import AccessKey


@pytest.fixture
def sign(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SignedRequest]:
    """Sign a request: keyword arguments of `Signer` and of `Signer.sign`."""

    def do(**arguments: Any) -> SignedRequest:
        of_signer = {name: arguments.pop(name) for name in ("key", "region", "service", "at") if name in arguments}
        return Signer(**of_signer).sign(monkeypatch=monkeypatch, **arguments)

    return do


@pytest.fixture
def verifier() -> Verifier[AccessKey]:
    return Verifier(
        regions=frozenset({"us-east-1", "eu-west-1"}),
        max_clock_skew=timedelta(minutes=15),
        find_key=find_key,
        now=lambda: NOW,
    )
