"""SQLite and PostgreSQL keep the contract of the store, each with what is special to it."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from postgres_rig import find_binaries, postgres_server
from sqlalchemy import event
from store_contract import StoreContract
from store_samples import HERE, put, stack

from databases import lay_database, migrate
from fanlight.domain.errors import InvalidCombination, StoreUnavailable
from fanlight.store import Store, engine, open_store, units
from fanlight.store.revisions import SqliteRevision


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with open_store(database_url) as opened:
        yield opened


class TestSqlite(StoreContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "state" / "fanlight.db"

    @pytest.fixture
    def database_url(self, path: Path) -> str:
        return lay_database(path)

    async def test_the_file_and_its_side_files_are_readable_by_the_owner_only(self, store: Store, path: Path) -> None:
        await put(store.transactions, stack())
        modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
        assert modes == {"fanlight.db": 0o600, "fanlight.db-wal": 0o600, "fanlight.db-shm": 0o600}

    async def test_a_commit_is_on_the_disk(self, store: Store) -> None:
        async with store._engine.connect() as connection:
            answers = [
                (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        assert answers == ["wal", 2, 1]

    @pytest.mark.parametrize(
        ("filters", "index"),
        [
            ({}, "ix_streaming_sessions_pair"),
            ({"user_id": "ada"}, "ix_streaming_sessions_user"),
            ({"instance_id": "i-1"}, "ix_streaming_sessions_instance"),
        ],
    )
    async def test_sessions_are_found_by_an_index_however_many_there_are(
        self, store: Store, filters: dict[str, str], index: str
    ) -> None:
        statements: list[tuple[str, Any]] = []
        async with store.transactions.begin() as work:
            event.listen(
                store._engine.sync_engine,
                "before_cursor_execute",
                lambda _connection, _cursor, statement, parameters, *_: statements.append((statement, parameters)),
            )
            await work.sessions.page(HERE, "design", "cad", authentication_type="API", limit=50, **filters)
        statement, parameters = statements[0]
        async with store._engine.connect() as connection:
            plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)).fetchall()
        assert [index in step[3] for step in plan if "SEARCH" in step[3] or "SCAN" in step[3]] == [True]

    async def test_a_revision_of_another_connection_is_another_revision(self, store: Store, path: Path) -> None:
        revision = SqliteRevision(str(path))
        before = revision()
        assert (revision(), before is None) == (before, False)
        revision.close()
        assert revision() not in (before, None)
        revision.close()

    async def test_without_a_readable_file_there_is_no_revision(self, tmp_path: Path) -> None:
        (tmp_path / "fanlight.db").write_bytes(b"This is no database." * 100)
        assert SqliteRevision(str(tmp_path / "fanlight.db"))() is None

    async def test_a_database_locked_by_another_process_is_an_outage_not_a_crash(
        self, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await put(store.transactions, stack())
        monkeypatch.setattr(engine, "LOCK_TIMEOUT_IN_SECONDS", 0)
        async with open_store(f"sqlite:///{path}") as impatient:
            other_process = sqlite3.connect(path, isolation_level=None)
            other_process.execute("BEGIN IMMEDIATE")
            try:
                with pytest.raises(StoreUnavailable, match="Nothing was changed: try again") as raised:
                    await put(impatient.transactions, stack("b"))
                async with impatient.transactions.begin() as work:
                    assert await work.stacks.get(HERE, "design") == stack()
            finally:
                other_process.close()
            assert raised.value.reason == "database is locked"
            await put(impatient.transactions, stack("b"))

    async def test_who_waits_too_long_for_a_turn_hears_of_it(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(units, "TURN_TIMEOUT_IN_SECONDS", 0.01)
        async with store.transactions.begin(write=True):
            with pytest.raises(StoreUnavailable):
                await put(store.transactions, stack())
        await put(store.transactions, stack())

    async def test_a_place_where_no_file_can_be_is_an_outage_not_a_crash(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StoreUnavailable) as raised:
            open_store(f"sqlite:///{tmp_path}/file/fanlight.db")
        assert raised.value.reason == f"[Errno 17] File exists: '{tmp_path}/file'"

    async def test_a_file_that_is_no_database_is_an_outage_not_a_crash(self, tmp_path: Path) -> None:
        (tmp_path / "fanlight.db").write_bytes(b"This is no database." * 100)
        async with open_store(f"sqlite:///{tmp_path / 'fanlight.db'}") as broken:
            with pytest.raises(StoreUnavailable) as raised:
                await broken.upgrade()
        assert raised.value.reason == "file is not a database"


def test_other_databases_are_refused_in_words() -> None:
    with pytest.raises(InvalidCombination, match=r"The database mysql is not supported\. Use sqlite or postgresql\."):
        open_store("mysql://localhost/fanlight")
    with pytest.raises(InvalidCombination, match="would be lost"):
        open_store("sqlite:///:memory:")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian package: postgresql)")
    with postgres_server(binaries) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres: str) -> str:
    """The name of a migrated database to copy."""

    async def make() -> str:
        connection = await asyncpg.connect(postgres)
        try:
            await connection.execute("CREATE DATABASE fanlight_template")
        finally:
            await connection.close()
        await migrate(_in_database(postgres, "fanlight_template"))
        return "fanlight_template"

    return asyncio.run(make())


def _in_database(server: str, name: str) -> str:
    return server.replace("/postgres?", f"/{name}?")


@pytest.mark.postgres
class TestPostgresql(StoreContract):
    @pytest.fixture
    async def database_url(self, postgres: str, postgres_template: str) -> str:
        name = f"fanlight_{uuid4().hex}"
        connection = await asyncpg.connect(postgres)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
        finally:
            await connection.close()
        return _in_database(postgres, name)

    async def test_a_lost_server_is_an_outage_not_a_crash(self, tmp_path: Path) -> None:
        async with open_store(f"postgresql://fanlight@/fanlight?host={tmp_path}") as lost:
            with pytest.raises(StoreUnavailable):
                await put(lost.transactions, stack())

    async def test_a_cut_connection_is_replaced(self, store: Store, database_url: str) -> None:
        await put(store.transactions, stack())
        killer = await asyncpg.connect(database_url)
        try:
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fanlight' "
                "AND datname = current_database()"
            )
        finally:
            await killer.close()
        await asyncio.sleep(0)
        async with store.transactions.begin() as work:
            assert await work.stacks.get(HERE, "design") == stack()
