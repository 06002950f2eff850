"""The secrets that open doors to users' files: nothing is kept, a restart makes the same ones again."""

import hashlib
import hmac
from base64 import urlsafe_b64encode

from fanlight.domain.user_storage import StorageKind


class DoorTokens:
    """`signing_key` is DATA_DIR/state/signing.key."""

    def __init__(self, signing_key: bytes) -> None:
        self._key = hmac.digest(signing_key, b"fanlight storage doors", hashlib.sha256)

    def token_of(self, session_id: str, kind: StorageKind) -> str:
        """Return what opens a session's door of that kind, and no other."""
        mac = hmac.digest(self._key, f"{session_id}\n{kind}".encode(), hashlib.sha256)
        return urlsafe_b64encode(mac).decode().rstrip("=")
