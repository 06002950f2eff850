"""The S3 endpoint that comes with Fanlight: a directory of this host, served by rclone.

It stands in while no other endpoint is configured. The first key of the installation opens it for operators' S3 tools,
a key of its own for Fanlight's servers: whoever breaks one of those gets no key to the API.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fanlight.config import Settings

OWN_KEY_ID = "FANLIGHTSTORAGE00001"


@dataclass(frozen=True, slots=True)
class KeyPair:
    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:
        return f"KeyPair({self.access_key_id!r})"

    @property
    def is_usable(self) -> bool:
        """Whether rclone can be told of it: it separates the two halves with a comma."""
        return "," not in self.access_key_id + self.secret_access_key


def buckets_directory(settings: Settings) -> Path:
    return settings.data_dir / "storage" / "buckets"


def read_own_key(storage_directory: Path) -> KeyPair:
    """Return the key of Fanlight's own servers, which `prepare_directories` made. Raises OSError."""
    return KeyPair(OWN_KEY_ID, (storage_directory / "s3.key").read_text().strip())


def server_of(settings: Settings, keys: Sequence[KeyPair]) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return arguments and environment of the rclone that serves the buckets to whoever has one of the (usable) keys."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    arguments = [
        "serve", "s3", str(buckets_directory(settings)),
        "--addr", f"{host}:{settings.s3_port}",
        "--etag-hash", "MD5",  # what S3 clients compare with
        "--dir-cache-time", "1s",  # what sessions and operators put into the directory itself is seen that soon
        "--dir-perms", "0700", "--file-perms", "0600",
    ]  # fmt: skip
    if settings.tls_cert and settings.tls_key:
        arguments += ["--cert", str(settings.tls_cert), "--key", str(settings.tls_key)]
    pairs = io.StringIO()
    csv.writer(pairs, quoting=csv.QUOTE_ALL).writerow(f"{pair.access_key_id},{pair.secret_access_key}" for pair in keys)
    return arguments, {"RCLONE_AUTH_KEY": pairs.getvalue().strip()}
