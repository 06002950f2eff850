"""The rules of the catalogue: what an application may be called, and what must be there before it is one."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from fanlight.agent.assistant.catalogue import Catalogue, CatalogueEntry
from fanlight.agent.assistant.icons import chosen_icon, drawn_icon, found_icon
from fanlight.agent.assistant.installed import icon_for
from fanlight.agent.assistant.refusals import (
    NO_DIRECTORY,
    NO_PROGRAM,
    NOT_UNIQUE,
    TOO_MANY,
    AssistantRefuses,
    no_file,
    no_manifest,
    refused,
)
from fanlight.agentwire.image_requests import MAX_APPLICATIONS

MAX_NAME = 256
MAX_PATH = 1_024
MAX_PARAMETERS = 4_096
MAX_MANIFEST_BYTES = 8 << 20
_NAME = re.compile(r"\S{1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationWishes:
    """What somebody says of an application; None: nothing. Paths are absolute."""

    name: str
    absolute_app_path: str | None = None
    display_name: str | None = None
    absolute_icon_path: str | None = None
    working_directory: str | None = None
    launch_parameters: str | None = None
    absolute_manifest_path: str | None = None
    description: str | None = None


class Applications:
    """`root` is where the file system begins (tests move it)."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.catalogue = Catalogue(root)
        self._root = root

    def add(self, wishes: ApplicationWishes) -> CatalogueEntry:
        """Raises AssistantRefuses."""
        self._check_name(wishes.name)
        known = self.catalogue.entries()
        if len(known) >= MAX_APPLICATIONS:
            raise refused(TOO_MANY)
        if any(each.name == wishes.name for each in known):
            raise refused(NOT_UNIQUE)
        if wishes.absolute_app_path is None:
            raise AssistantRefuses("The parameter --absolute-app-path is missing.")
        default = Path(wishes.absolute_app_path).stem.replace(" ", "_")
        entry = CatalogueEntry(name=wishes.name, display_name=default, launch_path=wishes.absolute_app_path)
        entry = self._with(entry, wishes)
        icon = self._icon(wishes) or self._default_icon(entry)
        self.catalogue.add(entry, icon, self._manifest(wishes))
        return self.catalogue.find(entry.name)

    def update(self, wishes: ApplicationWishes) -> CatalogueEntry:
        """Change what is said and leave the rest. Raises AssistantRefuses."""
        entry = self._with(self.catalogue.find(wishes.name), wishes)
        self.catalogue.change(entry, self._icon(wishes), self._manifest(wishes))
        return self.catalogue.find(entry.name)

    def remove(self, name: str) -> None:
        """Raises AssistantRefuses."""
        self.catalogue.remove(name)

    def _with(self, entry: CatalogueEntry, wishes: ApplicationWishes) -> CatalogueEntry:
        if (path := wishes.absolute_app_path) is not None:
            self._check_program(path)
            entry = replace(entry, launch_path=path)
        if (name := wishes.display_name) is not None:
            if not 0 < len(name) <= MAX_NAME or not name.isprintable():
                raise AssistantRefuses(f"A display name has 1 to {MAX_NAME} printable characters.")
            entry = replace(entry, display_name=name)
        if (directory := wishes.working_directory) is not None:
            self._check_directory(directory)
            entry = replace(entry, working_directory=directory)
        if (parameters := wishes.launch_parameters) is not None:
            if len(parameters) > MAX_PARAMETERS or "\0" in parameters:
                raise AssistantRefuses(f"Launch parameters have at most {MAX_PARAMETERS} characters.")
            entry = replace(entry, launch_parameters=parameters)
        if wishes.description is not None:
            entry = replace(entry, description=wishes.description[:MAX_NAME])
        return entry

    def _check_program(self, path: str) -> None:
        _check_path("--absolute-app-path", path)
        if not self._at(path).is_file():
            raise refused(NO_PROGRAM)
        if not self._at(path).stat().st_mode & 0o111:
            raise AssistantRefuses(f"{path} may not be executed. Say: chmod +x {path}")

    def _check_directory(self, path: str) -> None:
        if path:
            _check_path("--working-directory", path)
            if not self._at(path).is_dir():
                raise refused(NO_DIRECTORY)

    def _icon(self, wishes: ApplicationWishes) -> bytes | None:
        return chosen_icon(self._at(wishes.absolute_icon_path)) if wishes.absolute_icon_path else None

    def _default_icon(self, entry: CatalogueEntry) -> bytes:
        found = icon_for(entry.launch_path, self._root)
        return (found and found_icon(found)) or drawn_icon(entry.display_name)

    def _manifest(self, wishes: ApplicationWishes) -> str | None:
        """Return the manifest's text, each of its files being there."""
        path = wishes.absolute_manifest_path
        if not path:
            return None
        try:
            with self._at(path).open(encoding="utf-8", errors="surrogateescape") as file:
                text = file.read(MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise no_manifest(path) from error
        if len(text) > MAX_MANIFEST_BYTES:
            raise AssistantRefuses(f"The optimization manifest {path} has more than {MAX_MANIFEST_BYTES} characters.")
        lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
        for line in lines:
            if not line.startswith("/") or not self._at(line).is_file():
                raise no_file(line)
        return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape").decode(errors="replace")

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    @staticmethod
    def _check_name(name: str) -> None:
        if not _NAME.fullmatch(name) or not name.isprintable():
            raise AssistantRefuses(f"An application's name has 1 to {MAX_NAME} characters and no white space.")


def _check_path(option: str, path: str) -> None:
    if not path.startswith("/") or len(path) > MAX_PATH or not path.isprintable():
        raise AssistantRefuses(f"{option} takes an absolute path of at most {MAX_PATH} characters.")
