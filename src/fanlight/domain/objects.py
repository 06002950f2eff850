"""Objects in S3: what outlives instances and images, or comes from outside."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fanlight.domain.errors import DriverError


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """Where an object is, or would be."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`version` changes whenever the content does (S3's ETag)."""

    place: ObjectPlace
    size: int
    version: str


class ObjectMissing(DriverError):
    def __init__(self, place: ObjectPlace) -> None:
        super().__init__(f"There is no object {place}, or it changed meanwhile.")
        self.place = place


class ObjectRefused(DriverError):
    """The S3 endpoint refuses the request for good: the key may not, the bucket's name is taken by somebody else."""


class ObjectStore(Protocol):
    """An S3 endpoint. Every call raises DriverUnavailable when it does not answer, ObjectRefused when it refuses."""

    async def find(self, place: ObjectPlace) -> StoredObject | None: ...

    def read(self, stored: StoredObject) -> AsyncIterator[bytes]:
        """Yield the content of just this version. Raises ObjectMissing when it is gone or another."""
        ...

    async def write(self, place: ObjectPlace, content: AsyncIterator[bytes]) -> StoredObject:
        """Write an object of any size. It appears complete or not at all; what a failure leaves of it is cleared away."""
        ...

    async def list(self, bucket: str, prefix: str) -> Sequence[StoredObject]:
        """Return at most a thousand, by key; none for a bucket that is not there."""
        ...

    async def delete(self, place: ObjectPlace) -> None:
        """Unknown is success."""

    async def ensure_bucket(self, bucket: str) -> None:
        """Make it unless it is there."""
