"""Whose page may ask: the browser's Origin must be exactly our own, and no answer ever allows another."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from fanlight.config import Settings
from fanlight.forwarding import Network, is_among, networks, source_of

_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origins:
    """How browsers reach this gateway: by `public_url` if that is set, else by the Host they name."""

    public_origin: str | None
    has_tls: bool
    trusted_proxies: tuple[Network, ...]

    @classmethod
    def of(cls, settings: Settings) -> "Origins":
        """Raises ValueError when a trusted proxy is no address."""
        return cls(
            public_origin=_origin_of(settings.public_url) if settings.public_url else None,
            has_tls=settings.tls_cert is not None,
            trusted_proxies=networks(settings.trusted_proxies),
        )

    def own(self, request: web.Request) -> str:
        """Return the origin that a page of ours has in this browser."""
        if self.public_origin:
            return self.public_origin
        host = request.headers.get("Host", "")
        if not _HOST.fullmatch(host):
            return "null"  # no page of ours can be there
        return f"{'https' if self.is_secure(request) else 'http'}://{host}".lower()

    def is_secure(self, request: web.Request) -> bool:
        """Return whether the browser's own connection is https."""
        if self.public_origin:
            return self.public_origin.startswith("https:")
        if self.has_tls:
            return True
        return self._from_proxy(request) and request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"

    def is_own(self, request: web.Request) -> bool:
        """Return whether the request carries exactly one Origin, and it is our own. A missing one is foreign."""
        given = request.headers.getall("Origin", [])
        own = self.own(request)
        return len(given) == 1 and given[0].lower() == own and own != "null"

    def address_of(self, request: web.Request) -> str:
        """Return the browser's address, for the audit log."""
        return source_of(request.remote or "", request.headers.getall("X-Forwarded-For", []), self.trusted_proxies)

    def _from_proxy(self, request: web.Request) -> bool:
        return is_among(request.remote or "", self.trusted_proxies)


def _origin_of(url: str) -> str:
    """Return the origin as browsers write it: lower case, without a default port. Raises ValueError for no web address."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(
            f"--public-url {url} is no web address: give https:// and the host, e.g. https://apps.example.org."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_default = parts.port is None or parts.port == _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{host}" if is_default else f"{parts.scheme}://{host}:{parts.port}"
