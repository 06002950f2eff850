"""Users' grants on disk: a file for each account, region, user and kind, which the storage process alone can read."""

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from fanlight.domain.user_storage import StorageDoor
from fanlight.storage.drives.providers import Grant

log = logging.getLogger(__name__)


class Grants:
    """Bucket and prefix of a door name its user: the bucket account and region, the prefix the user."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, door: StorageDoor) -> Grant | None:
        """Return None also for one that cannot be read: then its user is asked anew."""
        try:
            return Grant(**json.loads(self._path_of(door).read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.warning("a user's leave to use a drive cannot be read", extra={"why": type(error).__name__})
            return None

    def write(self, door: StorageDoor, grant: Grant) -> None:
        """Replace what is there, whole or not at all. Raises OSError."""
        path = self._path_of(door)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{uuid4().hex}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(grant), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def remove(self, door: StorageDoor) -> None:
        """Raises OSError."""
        with suppress(FileNotFoundError):
            self._path_of(door).unlink()

    def _path_of(self, door: StorageDoor) -> Path:
        return self._directory / door.bucket / door.prefix / f"{door.kind}.json"
