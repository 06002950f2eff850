"""Users' grants on disk: a file for each account, region, user and kind, which the storage process alone can read."""

import errno
import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fanlight.domain.user_storage import StorageDoor
from fanlight.storage.drives.providers import Grant

log = logging.getLogger(__name__)

_KEY_BITS = 256
_NONCE_BYTES = 12  # as AES-GCM has it


class Grants:
    """Bucket and prefix of a door name its user: the bucket account and region, the prefix the user.

    Each is sealed with the key at `key_path`, which is made when there is none, and to its place: read in that of another
    user it is no grant, and a copy of `directory` alone opens no drive.
    """

    def __init__(self, directory: Path, key_path: Path) -> None:
        self._directory, self._key_path = directory, key_path

    def read(self, door: StorageDoor) -> Grant | None:
        """Return None also for one that cannot be read: then its user is asked anew."""
        try:
            sealed = self._path_of(door).read_bytes()
            plain = self._seal().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _place_of(door))
            return Grant(**json.loads(plain))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, InvalidTag) as error:
            log.warning("a user's leave to use a drive cannot be read", extra={"why": type(error).__name__})
            return None

    def write(self, door: StorageDoor, grant: Grant) -> None:
        """Replace what is there, whole or not at all. Raises OSError."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._seal().encrypt(nonce, json.dumps(asdict(grant)).encode(), _place_of(door))
        path = self._path_of(door)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, nonce + sealed)

    def remove(self, door: StorageDoor) -> None:
        """Raises OSError."""
        with suppress(FileNotFoundError):
            self._path_of(door).unlink()

    def _seal(self) -> AESGCM:
        """Raises OSError."""
        if not self._key_path.exists():
            _write(self._key_path, AESGCM.generate_key(_KEY_BITS))
        key = self._key_path.read_bytes()
        if len(key) * 8 != _KEY_BITS:
            raise OSError(errno.EINVAL, "is no key", str(self._key_path))
        return AESGCM(key)

    def _path_of(self, door: StorageDoor) -> Path:
        return self._directory / door.bucket / door.prefix / f"{door.kind}.json"


def _place_of(door: StorageDoor) -> bytes:
    return json.dumps([door.bucket, door.prefix, door.kind]).encode()


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all. Raises OSError."""
    draft = path.with_name(f".{uuid4().hex}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
