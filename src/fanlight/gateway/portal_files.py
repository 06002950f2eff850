"""The portal's own pages, scripts, styles and pictures: read once from the package, addressed by their content."""

import hashlib
import html
import importlib.resources
import string
from dataclasses import dataclass

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PACKAGE = "fanlight.web.portal"  # data, not code: the web package itself is not imported


@dataclass(frozen=True, slots=True)
class Asset:
    content_type: str
    body: bytes


class PortalFiles:
    """All of it is held in memory (some 100 kB). Assets live under a digest, so browsers may keep them for ever."""

    def __init__(self) -> None:
        self._assets: dict[str, Asset] = {}
        self._pages: dict[str, string.Template] = {}
        digest = hashlib.sha256()
        for file in sorted(importlib.resources.files(_PACKAGE).iterdir(), key=lambda f: f.name):
            suffix = "." + file.name.rpartition(".")[2]
            if suffix == ".html":
                self._pages[file.name] = string.Template(file.read_text("utf-8"))
            elif suffix in _KINDS:
                self._assets[file.name] = Asset(_KINDS[suffix], file.read_bytes())
                digest.update(file.name.encode() + b"\0" + self._assets[file.name].body)
        self.base = f"/assets/{digest.hexdigest()[:12]}"

    def asset(self, name: str) -> Asset | None:
        return self._assets.get(name)

    def page(self, name: str, **texts: str) -> str:
        """Return a page with the texts filled in, escaped. Raises KeyError for a text that the page wants and misses."""
        escaped = {key: html.escape(text) for key, text in texts.items()}
        return self._pages[name].substitute(escaped, assets=self.base)
