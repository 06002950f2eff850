"""NextToken: where a listing goes on, in a form that only we can make.

A token holds the last name of the page before and a MAC over it and over what was asked, so it cannot be read as
something else: another operation, account, region or filter. Nothing is stored and a token never expires.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

from fanlight.domain.errors import InvalidPageToken
from fanlight.domain.places import Scope

_MAC_LENGTH = 16  # 128 bits: far beyond guessing, and the token stays short
_LONGEST = 2048

ItemT = TypeVar("ItemT")


class PageTokens:
    def __init__(self, signing_key: bytes) -> None:
        # A key of its own, so that no token can ever pass for the signature of a streaming URL.
        self._key = hmac.digest(signing_key, b"fanlight page tokens", hashlib.sha256)

    def issue(self, scope: Scope, asked: Sequence[str], last: str) -> str:
        """Return the token that continues after `last`. `asked` is the operation and its filters."""
        return base64.urlsafe_b64encode(self._mac(scope, asked, last) + last.encode()).decode()

    def read(self, scope: Scope, asked: Sequence[str], token: str | None) -> str:
        """Return where to continue, "" without a token. Raises InvalidPageToken."""
        if token is None:
            return ""
        if len(token) > _LONGEST:
            raise InvalidPageToken
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
            last = raw[_MAC_LENGTH:].decode()
        except (UnicodeError, binascii.Error, ValueError):
            raise InvalidPageToken from None
        if not hmac.compare_digest(raw[:_MAC_LENGTH], self._mac(scope, asked, last)):
            raise InvalidPageToken
        return last

    def _mac(self, scope: Scope, asked: Sequence[str], last: str) -> bytes:
        # Length before each text: no two different questions have the same bytes.
        texts = [text.encode("utf-8", "surrogatepass") for text in (scope.account_id, scope.region, *asked, last)]
        message = b"".join(len(text).to_bytes(4, "big") + text for text in texts)
        return hmac.digest(self._key, message, hashlib.sha256)[:_MAC_LENGTH]


def cut(items: Sequence[ItemT], size: int) -> tuple[Sequence[ItemT], bool]:
    """Split what was read with `limit=size + 1` into the page and whether there is more."""
    return items[:size], len(items) > size
