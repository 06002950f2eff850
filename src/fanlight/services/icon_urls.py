"""Where browsers find icons: for a time, at a URL that only we can make.

An icon shows what an account works with, so nobody finds one by guessing names. The end of the time is rounded up to a
full hour: the same icon has the same URL for that long, and browsers keep it.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import quote, urlencode

from fanlight.domain.images import Application, Image
from fanlight.domain.ports import Clock
from fanlight.services.image_files import ImageFiles

SHORTEST_VALIDITY_IN_SECONDS = 3600


class IconUrls:
    def __init__(self, signing_key: bytes, portal: Callable[[], str], clock: Clock, files: ImageFiles) -> None:
        # A key of its own, so that no icon's signature can ever pass for that of a streaming URL.
        self._key = hmac.digest(signing_key, b"fanlight icons", hashlib.sha256)
        self._portal, self._clock, self._files = portal, clock, files

    def url(self, image: Image, application: Application) -> str | None:
        """Return where a browser finds the icon, None when the application has none."""
        path = self.path(image, application)
        return None if path is None else f"{self._portal()}/icons/{path}"

    def path(self, image: Image, application: Application) -> str | None:
        """Return the part of the URL that follows `/icons/`."""
        if application.icon is None:
            return None
        expires = (int(self._clock.now().timestamp()) // 3600 + 1) * 3600 + SHORTEST_VALIDITY_IN_SECONDS
        signature = base64.urlsafe_b64encode(self._mac(image.store_ref, application.icon, str(expires))).decode()
        query = urlencode({"expires": expires, "signature": signature})
        return f"{quote(image.store_ref)}/{quote(application.icon)}?{query}"

    def read(self, store_ref: str, name: str, expires: str, signature: str) -> bytes | None:
        """Return the icon that a URL names; None when the URL is not ours, is too old, or there is none.

        It reads a file: call it in a thread.
        """
        try:
            given = base64.urlsafe_b64decode(signature.encode("ascii"))
        except ValueError:
            return None
        if not hmac.compare_digest(given, self._mac(store_ref, name, expires)):
            return None
        if int(expires) < self._clock.now().timestamp():
            return None
        return self._files.icon(store_ref, name)

    def _mac(self, *words: str) -> bytes:
        # No store reference, file name or number has a line break, and a question that has one is none of ours.
        return hmac.digest(self._key, "\n".join(words).encode("utf-8", "surrogatepass"), hashlib.sha256)
