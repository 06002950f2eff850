"""Read the file in which the operator writes the licence agreements of Nimble Studio's images.

Strict: an unknown key or a wrong type refuses the whole file, and says where. A licence that nobody is asked about is
worse than a server that does not start.
"""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fanlight.domain.nimble.eulas import Eula


class EulasFileInvalid(ValueError):
    """The file cannot be read or says what cannot be. The text names the file, the place in it and what is wrong."""


class _Eula(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    content: Annotated[str, Field(min_length=1)]
    images: list[Annotated[str, Field(min_length=1)]] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    eula: list[_Eula] = []


def read_eulas(path: Path | None) -> tuple[Eula, ...]:
    """Return the agreements of the file; none when there is no file. Raises EulasFileInvalid."""
    if path is None:
        return ()
    try:
        written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise EulasFileInvalid(f"The EULAs file {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise EulasFileInvalid(f"The EULAs file {path} is wrong at {place}: {problem['msg']}.") from None
    except ValueError as error:  # TOML or UTF-8
        raise EulasFileInvalid(f"The EULAs file {path} is not TOML: {error}.") from error
    names = [entry.name for entry in file.eula]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise EulasFileInvalid(f"The EULAs file {path} has a name more than once: {', '.join(twice)}.")
    return tuple(
        Eula(name=entry.name, content=entry.content, images=tuple(entry.images), written_at=written_at)
        for entry in file.eula
    )
