"""What makes two requests the same, for client tokens."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from fanlight.domain.access_keys import Caller
from fanlight.domain.nimble.calls import Call


def call_of(operation: str, request: Any, caller: Caller) -> Call:
    """Return the call that a typed request makes. What it says stands in path and body alone, beside its token."""
    said = asdict(request)
    token = said.pop("client_token", None)
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return Call(
        scope=caller.scope,
        operation=operation,
        caller=caller.name,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        token=token,
    )
