"""A storage process that keeps a list of its doors, for tests of those who ask it."""

from collections.abc import Collection, Sequence

from fanlight.domain.errors import StorageUnavailable, StorageUnusable
from fanlight.domain.user_storage import StorageDoor, StorageKind, StorageUsage


class RecordingStorage:
    """UserStorage. `trouble` is raised where a bucket is used, `is_away` makes it answer nothing."""

    def __init__(self) -> None:
        self.open_doors: dict[tuple[str, StorageKind], StorageDoor] = {}
        self.buckets: set[str] = set()
        self.trouble: str | None = None
        self.is_away = False

    def restart(self) -> None:
        self.open_doors.clear()

    async def open(self, door: StorageDoor) -> None:
        self._answer()
        self.open_doors[door.session_id, door.kind] = door
        await self.ensure_bucket(door.bucket)

    async def close(self, session_id: str, *, but: Collection[StorageKind] = ()) -> None:
        self._answer()
        for place in list(self.open_doors):
            if place[0] == session_id and place[1] not in but:
                del self.open_doors[place]

    async def doors(self) -> Collection[tuple[str, StorageKind]]:
        self._answer()
        return set(self.open_doors)

    async def ensure_bucket(self, bucket: str) -> None:
        self._answer()
        if self.trouble is not None:
            raise StorageUnusable(self.trouble)
        self.buckets.add(bucket)

    async def usage(self) -> Sequence[StorageUsage]:
        raise NotImplementedError

    def _answer(self) -> None:
        if self.is_away:
            raise StorageUnavailable("The storage process does not answer.")
