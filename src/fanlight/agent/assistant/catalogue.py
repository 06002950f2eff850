"""The applications of an image, as its root file system carries them: /etc/fanlight/catalog.json, icons and manifests.

A recipe writes the same format; what an image builder starts with is the catalogue of its image. Whoever changes it is
root of the builder. The host believes nothing of it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from fanlight.agent.assistant.refusals import NO_APPLICATION, NOT_UNIQUE, TOO_MANY, AssistantRefuses, refused
from fanlight.agentwire.image_requests import MAX_APPLICATIONS

FORMAT = 1
DIRECTORY = "etc/fanlight"
FILE = "catalog.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One application. `icon` and `manifest` are file names beside the catalogue; empty: there is none."""

    name: str
    display_name: str
    launch_path: str
    launch_parameters: str = ""
    working_directory: str = ""
    description: str = ""
    icon: str = ""
    manifest: str = ""


class Catalogue:
    """`root` is where the file system begins (tests move it)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._directory = root / DIRECTORY

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """Raises AssistantRefuses when the file is not one that the assistant wrote."""
        path = self._directory / FILE
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            if read["format"] != FORMAT:
                raise AssistantRefuses(f"The catalog {path} is of a newer kind than this assistant.")
            known = {f.name for f in fields(CatalogueEntry)}
            return tuple(
                CatalogueEntry(**{k: str(v) for k, v in each.items() if k in known}) for each in read["applications"]
            )
        except FileNotFoundError:
            return ()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AssistantRefuses(f"The catalog {path} is damaged: {error}. Remove it to begin a new one.") from error

    def find(self, name: str) -> CatalogueEntry:
        """Raises AssistantRefuses."""
        found = next((entry for entry in self.entries() if entry.name == name), None)
        if found is None:
            raise refused(NO_APPLICATION)
        return found

    def add(self, entry: CatalogueEntry, icon: bytes | None, manifest: str | None) -> None:
        """Raises AssistantRefuses."""
        with self._turn():
            entries = self.entries()
            if len(entries) >= MAX_APPLICATIONS:
                raise refused(TOO_MANY)
            if any(each.name == entry.name for each in entries):
                raise refused(NOT_UNIQUE)
            self._write((*entries, self._with_files(entry, icon, manifest)))

    def change(self, entry: CatalogueEntry, icon: bytes | None, manifest: str | None) -> None:
        """Put `entry` in the place of that of its name; None leaves icon or manifest. Raises AssistantRefuses."""
        with self._turn():
            before = self.find(entry.name)
            after = self._with_files(replace(entry, icon=before.icon, manifest=before.manifest), icon, manifest)
            self._write([after if each.name == entry.name else each for each in self.entries()])

    def remove(self, name: str) -> None:
        """Raises AssistantRefuses."""
        with self._turn():
            gone = self.find(name)
            self._write([each for each in self.entries() if each.name != name])
            for kind, file in (("icons", gone.icon), ("manifests", gone.manifest)):
                if file:
                    (self._directory / kind / Path(file).name).unlink(missing_ok=True)

    def icon_path(self, entry: CatalogueEntry) -> Path | None:
        return self._directory / "icons" / Path(entry.icon).name if entry.icon else None

    def manifest_path(self, entry: CatalogueEntry) -> Path | None:
        return self._directory / "manifests" / Path(entry.manifest).name if entry.manifest else None

    def _with_files(self, entry: CatalogueEntry, icon: bytes | None, manifest: str | None) -> CatalogueEntry:
        # A name may hold any letter but white space, a slash too.
        stem = hashlib.sha256(entry.name.encode()).hexdigest()[:16]
        if icon is not None:
            self._replace(f"icons/{stem}.png", icon)
            entry = replace(entry, icon=f"{stem}.png")
        if manifest is not None:
            self._replace(f"manifests/{stem}.txt", manifest.encode())
            entry = replace(entry, manifest=f"{stem}.txt")
        return entry

    def _write(self, entries: Sequence[CatalogueEntry]) -> None:
        whole = {"format": FORMAT, "applications": [asdict(entry) for entry in entries]}
        self._replace(FILE, json.dumps(whole, indent=2).encode() + b"\n")

    def _replace(self, name: str, content: bytes) -> None:
        target = self._directory / name
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_bytes(content)
        fresh.chmod(0o644)
        fresh.replace(target)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold while changing it: the window and a script may both be at work."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
