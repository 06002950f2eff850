"""Read the file in which the operator says which directories of the host are the file systems of studio components.

Strict: an unknown key or a wrong type refuses the whole file, and says where. What it names is mounted into machines.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fanlight.config import Settings
from fanlight.domain.file_systems import NAME, SharedDirectory


class FileSystemsFileInvalid(ValueError):
    """The file cannot be read or says what cannot be. The text names the file, the place in it and what is wrong."""


class _FileSystem(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: str = Field(pattern=r"^/[^,\x00-\x1f]+$")
    read_only: bool = False
    endpoint: Annotated[str, Field(min_length=1)] | None = None
    share_name: Annotated[str, Field(min_length=1)] | None = None
    file_system_id: Annotated[str, Field(min_length=1)] | None = None
    accounts: list[Annotated[str, Field(pattern=r"^\d{12}$")]] = []

    @model_validator(mode="after")
    def _stand_for_something(self) -> Self:
        if not (self.endpoint or self.share_name or self.file_system_id):
            raise ValueError("needs endpoint, share_name or file_system_id, by which components name it")
        return self

    def directory(self, name: str) -> SharedDirectory:
        return SharedDirectory(
            name=name,
            path=Path(self.path).resolve(),  # the engine compares paths word by word
            is_read_only=self.read_only,
            endpoint=self.endpoint,
            share_name=self.share_name,
            file_system_id=self.file_system_id,
            accounts=frozenset(self.accounts),
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    file_systems: dict[Annotated[str, Field(pattern=f"^{NAME.pattern}$")], _FileSystem] = {}


def read_file_systems(settings: Settings) -> tuple[SharedDirectory, ...]:
    """Return what the file offers, in its order; nothing when there is no file. Raises FileSystemsFileInvalid."""
    path = settings.nimble_file_systems_file
    if path is None:
        return ()
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        found = tuple(entry.directory(name) for name, entry in file.file_systems.items())
    except OSError as error:
        raise FileSystemsFileInvalid(f"The file systems file {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        raise FileSystemsFileInvalid(f"The file systems file {path} is wrong at {place}: {problem['msg']}.") from None
    except ValueError as error:  # TOML or UTF-8
        raise FileSystemsFileInvalid(f"The file systems file {path} is not TOML: {error}.") from error
    own = (
        settings.data_dir,
        settings.effective_run_dir,
        *(engine.settings.incus_socket.parent for engine in settings.engines),
    )
    for directory in found:
        if any(_is_in_the_way(directory.path, place.resolve()) for place in own):
            raise FileSystemsFileInvalid(
                f"The file systems file {path} is wrong at {directory.name}: {directory.path} holds, or belongs to, "
                "Fanlight's or the engine's own directories, which no machine may see."
            )
    return found


def _is_in_the_way(directory: Path, own: Path) -> bool:
    return directory.is_relative_to(own) or own.is_relative_to(directory)
