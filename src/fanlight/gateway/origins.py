"""Whose page may ask: the browser's Origin must be exactly our own, and no answer ever allows another."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from fanlight.config import Settings
from fanlight.forwarding import Network, is_among, networks, source_of


@dataclass(frozen=True, slots=True)
class Origins:
    """How browsers reach this gateway: by `public_url` if that is set, else by the Host they name."""

    public_origin: str | None
    has_tls: bool
    trusted_proxies: tuple[Network, ...]

    @classmethod
    def of(cls, settings: Settings) -> "Origins":
        """Raises ValueError when a trusted proxy is no address."""
        public = urlsplit(settings.public_url) if settings.public_url else None
        return cls(
            public_origin=f"{public.scheme}://{public.netloc}".lower() if public else None,
            has_tls=settings.tls_cert is not None,
            trusted_proxies=networks(settings.trusted_proxies),
        )

    def own(self, request: web.Request) -> str:
        """Return the origin that a page of ours has in this browser."""
        if self.public_origin:
            return self.public_origin
        return f"{'https' if self.is_secure(request) else 'http'}://{request.headers.get('Host', '')}".lower()

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
        return len(given) == 1 and given[0].lower() == self.own(request)

    def address_of(self, request: web.Request) -> str:
        """Return the browser's address, for the audit log."""
        return source_of(request.remote or "", request.headers.getall("X-Forwarded-For", []), self.trusted_proxies)

    def _from_proxy(self, request: web.Request) -> bool:
        return is_among(request.remote or "", self.trusted_proxies)
