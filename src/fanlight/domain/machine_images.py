"""Machine images: archives of root file systems in S3 that clients name as EC2 names them, `ami-…`.

CreateImportedImage takes one, an export makes one, EC2's RegisterImage names an object that somebody uploaded. Each
account has its own place in S3, and no object elsewhere can be named: the server's key to S3 opens all of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fanlight.domain.objects import ObjectPlace
from fanlight.domain.places import Scope

_KEY = re.compile(r"[A-Za-z0-9().\-/_]{1,512}")
ARCHIVE_ENDING = ".tar.zst"
CATALOGUE_ENDING = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineImage:
    """`name` is unique in its scope. `image_name` is the image that it was exported from, empty for what was registered."""

    ami_id: str
    scope: Scope
    name: str
    place: ObjectPlace
    description: str = ""
    image_name: str = ""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ArchivePlaces:
    """Where in S3 accounts keep archives of images: `bucket/prefix/`, with `{account}` for each one's own."""

    pattern: str

    def home_of(self, scope: Scope) -> ObjectPlace:
        bucket, _, prefix = self.pattern.replace("{account}", scope.account_id).partition("/")
        return ObjectPlace(bucket, prefix)

    def read(self, scope: Scope, location: str) -> ObjectPlace | None:
        """Return what `bucket/key` (or s3://bucket/key) names, None unless that is below the account's home."""
        bucket, _, key = location.removeprefix("s3://").partition("/")
        home = self.home_of(scope)
        is_plain = _KEY.fullmatch(key) and not {"", ".", ".."} & set(key.split("/"))
        if bucket != home.bucket or not key.startswith(home.key) or not is_plain:
            return None
        return ObjectPlace(bucket, key)

    def of_export(self, scope: Scope, ami_name: str) -> ObjectPlace | None:
        """Return where an export of that name goes, None for a name that makes no key."""
        home = self.home_of(scope)
        return self.read(scope, f"{home.bucket}/{home.key}{scope.region}/{ami_name}{ARCHIVE_ENDING}")


def catalogue_of(archive: ObjectPlace) -> ObjectPlace:
    """Return where the catalogue of an exported archive stands: beside it."""
    return ObjectPlace(archive.bucket, archive.key.removesuffix(ARCHIVE_ENDING) + CATALOGUE_ENDING)


class MachineImages(Protocol):
    async def add(self, machine_image: MachineImage) -> MachineImage:
        """Raises AlreadyExists for an id or a name that its account has in the region."""
        ...

    async def find(self, scope: Scope, ami_id: str) -> MachineImage | None: ...

    async def of_scope(self, scope: Scope) -> Sequence[MachineImage]:
        """Return all, by name."""
        ...

    async def remove(self, machine_image: MachineImage) -> None:
        """Unknown is success."""


def read_place(location: str) -> ObjectPlace:
    """Return the place that `bucket/key` names, which this installation wrote itself."""
    bucket, _, key = location.partition("/")
    return ObjectPlace(bucket, key)
