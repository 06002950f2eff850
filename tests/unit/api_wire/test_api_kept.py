"""What is kept lives exactly as long as one revision of the store."""

from pathlib import Path

from fanlight.api.kept import MOST_KEPT, UntilChanged
from fanlight.store.revisions import SqliteRevision


class Store:
    """A number that a test changes, and how often it was computed from."""

    def __init__(self) -> None:
        self.revision: int | None = 1
        self.computed = 0

    async def compute(self) -> int:
        self.computed += 1
        return self.computed


async def test_a_value_is_computed_once_for_each_revision() -> None:
    store = Store()
    kept: UntilChanged[str, int] = UntilChanged(lambda: store.revision)
    assert [await kept.get("a", store.compute) for _ in range(3)] == [1, 1, 1]
    assert await kept.get("b", store.compute) == 2
    store.revision = 2
    assert [await kept.get("a", store.compute) for _ in range(2)] == [3, 3]


async def test_a_store_that_cannot_say_keeps_nothing_and_forgets_what_was() -> None:
    store = Store()
    kept: UntilChanged[str, int] = UntilChanged(lambda: store.revision)
    assert await kept.get("a", store.compute) == 1
    store.revision = None
    assert [await kept.get("a", store.compute) for _ in range(2)] == [2, 3]
    store.revision = 1
    assert await kept.get("a", store.compute) == 4


async def test_a_change_during_the_computation_is_not_hidden() -> None:
    store = Store()
    kept: UntilChanged[str, int] = UntilChanged(lambda: store.revision)

    async def overtaken() -> int:
        store.revision = 2
        await kept.get("other", store.compute)
        return 100

    assert await kept.get("a", overtaken) == 100
    assert await kept.get("a", store.compute) == 2


async def test_memory_is_bounded() -> None:
    store = Store()
    kept: UntilChanged[int, int] = UntilChanged(lambda: store.revision)
    for key in range(MOST_KEPT * 3):
        await kept.get(key, store.compute)
    assert len(kept._kept) <= MOST_KEPT


async def test_sqlites_numbers_of_a_new_connection_equal_none_of_the_old(tmp_path: Path) -> None:
    """SQLite starts counting anew with each connection; what was kept before must not come back to life."""
    revision = SqliteRevision(str(tmp_path / "some.db"))
    seen = set()
    for _ in range(3):
        assert revision() == revision()
        seen.add(revision())
        revision.close()
    assert len(seen) == 3
    revision.close()
