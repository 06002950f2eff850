"""What every store promises, as tests: `domain.ports.Transactions` and everything reached through it.

A database's own test module subclasses `StoreContract` and gives two fixtures: `database_url`, an empty database, and
`store`, open on it and upgraded.
"""

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from store_contents_contract import StoreContentsContract
from store_nimble_contract import StoreNimbleContract
from store_samples import HERE, NOW, fleet, instance, put, session, stack
from store_scaling_contract import StoreScalingContract

from fanlight.domain.errors import (
    ChangedMeanwhile,
    InvalidCombination,
    NotFound,
    StoreTooNew,
    StoreUnavailable,
)
from fanlight.domain.fleets import FleetEvent, FleetState
from fanlight.domain.instances import InstanceEvent, InstanceState
from fanlight.domain.ports import Transactions
from fanlight.domain.streaming_sessions import SessionEvent, SessionState
from fanlight.store import Store, open_store
from fanlight.store import tables as t

WRITER = Path(__file__).with_name("store_writer.py")


class StoreContract(StoreContentsContract, StoreNimbleContract, StoreScalingContract):
    # ── Units of work ─────────────────────────────────────────────────────────────────────────────────────────────

    async def test_what_is_not_committed_never_happened(self, store: Store) -> None:
        async with store.transactions.begin(write=True) as work:
            await work.stacks.add(stack())
        with pytest.raises(NotFound):
            async with store.transactions.begin() as work:
                await work.stacks.get(HERE, "design")

    async def test_an_error_in_the_block_undoes_what_the_unit_did(self, store: Store) -> None:
        async def fail() -> None:
            async with store.transactions.begin(write=True) as work:
                await work.stacks.add(stack())
                raise KeyError

        with pytest.raises(KeyError):
            await fail()
        async with store.transactions.begin() as work:
            assert await work.stacks.page(HERE, limit=10) == []

    async def test_a_cancelled_unit_leaves_nothing_behind_and_blocks_nobody(self, store: Store) -> None:
        is_inside = asyncio.Event()

        async def hang() -> None:
            async with store.transactions.begin(write=True) as work:
                await work.stacks.add(stack())
                is_inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        await is_inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await put(store.transactions, stack("second"))
        async with store.transactions.begin() as work:
            assert [found.name for found in await work.stacks.page(HERE, limit=10)] == ["second"]

    async def test_a_read_unit_cannot_write(self, store: Store) -> None:
        with pytest.raises(InvalidRequestError, match="write=True"):
            async with store.transactions.begin() as work:
                await work.stacks.add(stack())

    async def test_write_units_run_one_after_another(self, store: Store, database_url: str) -> None:
        """Two processes, four tasks each, read a number and write the next one: none is lost."""
        await put(store.transactions, fleet(desired_instances=0))

        async def count_up(transactions: Transactions) -> None:
            for _ in range(5):
                async with transactions.begin(write=True) as work:
                    found = await work.fleets.get(HERE, "cad")
                    await work.fleets.save(replace(found, desired_instances=found.desired_instances + 1))
                    await work.commit()

        async with open_store(database_url) as other_process:
            await asyncio.gather(*(count_up(one.transactions) for one in (store, other_process) for _ in range(4)))
        async with store.transactions.begin() as work:
            found = await work.fleets.get(HERE, "cad")
        assert (found.desired_instances, found.version) == (40, 40)

    async def test_a_reader_sees_one_moment_and_never_waits_for_the_writer(self, store: Store) -> None:
        await put(store.transactions, stack("a"))
        async with store.transactions.begin() as reader:
            assert len(await reader.stacks.page(HERE, limit=10)) == 1
            async with store.transactions.begin(write=True) as writer:
                await writer.stacks.add(stack("b"))
                assert len(await reader.stacks.page(HERE, limit=10)) == 1
                await writer.commit()
            assert len(await reader.stacks.page(HERE, limit=10)) == 1
        async with store.transactions.begin() as reader:
            assert len(await reader.stacks.page(HERE, limit=10)) == 2

    async def test_a_killed_writer_loses_nothing_it_said_and_leaves_nothing_half_done(
        self, store: Store, database_url: str
    ) -> None:
        writer = await asyncio.create_subprocess_exec(
            sys.executable, WRITER, database_url, stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        said = [int(await writer.stdout.readline()) for _ in range(20)]
        writer.kill()
        said += [int(line) for line in (await writer.stdout.read()).split()]
        await writer.wait()
        async with store.transactions.begin() as work:
            found = [int(one.name.removeprefix("stack-")) for one in await work.stacks.page(HERE, limit=100_000)]
            tagged = [await work.tags.of(f"arn:{number}") for number in found]
        assert found in (said, [*said, said[-1] + 1])  # the last one may have been committed but not said
        assert tagged == [{"number": str(number)} for number in found]
        await put(store.transactions, stack("after"))

    async def test_the_revision_stays_while_nothing_changes_and_moves_with_every_commit(
        self, store: Store, database_url: str
    ) -> None:
        before = store.transactions.revision()
        if before is None:
            pytest.skip("this database cannot tell cheaply whether something changed")
        async with store.transactions.begin() as work:
            await work.stacks.page(HERE, limit=10)
        async with store.transactions.begin(write=True) as work:
            await work.stacks.add(stack("given up"))
        assert store.transactions.revision() == before
        await put(store.transactions, stack("a"))
        between = store.transactions.revision()
        assert between not in (None, before)
        async with open_store(database_url) as other_process:
            await put(other_process.transactions, stack("b"))
        assert store.transactions.revision() not in (None, before, between)

    async def test_a_table_that_is_gone_is_an_outage_not_a_crash(self, store: Store) -> None:
        async with store._engine.begin() as connection:
            await connection.execute(text("DROP TABLE tags"))
        async with store.transactions.begin() as work:
            with pytest.raises(StoreUnavailable, match="Nothing was changed: try again"):
                await work.tags.of("arn:1")

    # ── The door ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_newer_row_is_never_overwritten(self, store: Store) -> None:
        await put(store.transactions, fleet())
        async with store.transactions.begin(write=True) as work:
            mine = yours = await work.fleets.get(HERE, "cad")
            saved = await work.fleets.save(replace(mine, description="mine"))
            assert saved == replace(mine, description="mine", version=1)
            with pytest.raises(ChangedMeanwhile, match="The fleet cad was changed by another request"):
                await work.fleets.save(replace(yours, description="yours"))
            await work.commit()
        async with store.transactions.begin() as work:
            assert await work.fleets.get(HERE, "cad") == saved

    async def test_a_newer_row_is_never_removed(self, store: Store) -> None:
        await put(store.transactions, fleet())
        async with store.transactions.begin(write=True) as work:
            seen = await work.fleets.get(HERE, "cad")
            newer = await work.fleets.save(seen)
            with pytest.raises(ChangedMeanwhile):
                await work.fleets.remove(seen)
            await work.fleets.remove(newer)
            with pytest.raises(ChangedMeanwhile):
                await work.fleets.save(newer)

    async def test_no_row_leaves_its_state_table(self, store: Store) -> None:
        """A state that nothing leads to from the row's is refused, even by hand and with the right version."""
        await put(store.transactions, fleet(), instance(), session())
        async with store.transactions.begin(write=True) as work:
            stopped = await work.fleets.get(HERE, "cad")
            with pytest.raises(ChangedMeanwhile):
                await work.fleets.save(replace(stopped, state=FleetState.RUNNING))
            await work.fleets.save(stopped.after(FleetEvent.START_REQUESTED))
            launching = await work.instances.find("i-1")
            assert launching is not None
            retiring = await work.instances.save(launching.after(InstanceEvent.RETIRED))
            with pytest.raises(ChangedMeanwhile):
                await work.instances.save(replace(retiring, state=InstanceState.READY))
            pending = await work.sessions.find("s-1")
            assert pending is not None
            expired = await work.sessions.save(pending.after(SessionEvent.ENDED))
            with pytest.raises(ChangedMeanwhile):
                await work.sessions.save(replace(expired, state=SessionState.ACTIVE))

    @pytest.mark.parametrize(
        ("table", "column"),
        [
            (t.fleets, "state"),
            (t.fleets, "fleet_type"),
            (t.fleets, "stream_view"),
            (t.images, "state"),
            (t.images, "visibility"),
            (t.images, "failure"),
            (t.image_builders, "state"),
            (t.instances, "state"),
            (t.streaming_sessions, "state"),
            (t.streaming_sessions, "end_reason"),
            (t.streaming_sessions, "end_requested"),
        ],
        ids=lambda value: getattr(value, "name", value),
    )
    async def test_the_database_itself_refuses_strange_values(self, store: Store, table: Any, column: str) -> None:
        row = {one.name: _anything(one) for one in table.columns}
        allowed = {"fleet_type": "ALWAYS_ON", "stream_view": "APP", "visibility": "PUBLIC"}
        states = {"fleets": "STOPPED", "images": "AVAILABLE", "instances": "READY", "streaming_sessions": "PENDING"}
        states["image_builders"] = "RUNNING"
        row.update({name: value for name, value in allowed.items() if name in row})
        row.update({"state": states[table.name], column: "STRANGE"})
        row.update({one: None for one in ("end_reason", "end_requested", "failure") if one in row and one != column})
        with pytest.raises(IntegrityError):
            async with store._engine.begin() as connection:
                await connection.execute(insert(table), row)

    # ── Values ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_times_are_aware_and_naive_ones_refused(self, store: Store) -> None:
        tokyo = datetime(2026, 3, 29, 10, 30, 0, 123456, tzinfo=timezone(timedelta(hours=9)))
        await put(store.transactions, stack(created_at=tokyo))
        async with store.transactions.begin(write=True) as work:
            found = await work.stacks.get(HERE, "design")
            assert found.created_at == tokyo
            assert found.created_at.tzinfo is UTC or found.created_at.utcoffset() == timedelta(0)
            with pytest.raises(Exception, match="no time zone"):
                await work.stacks.add(stack("b", created_at=datetime(2026, 1, 1)))  # noqa: DTZ001

    @pytest.mark.parametrize("bad", ["half \ud800 surrogate", "nul \x00"])
    async def test_a_text_that_cannot_be_stored_is_refused_in_words(self, store: Store, bad: str) -> None:
        try:
            await put(store.transactions, stack(description=bad))
        except InvalidCombination as error:
            assert "cannot be stored" in str(error)  # noqa: PT017 - SQLite keeps NUL, which is as good
        async with store.transactions.begin() as work:
            found = await work.stacks.page(HERE, limit=1)
        assert [one.description for one in found] in ([], [bad])

    # ── Schema ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_upgrading_again_and_by_two_at_once_changes_nothing(self, store: Store, database_url: str) -> None:
        await put(store.transactions, stack())
        async with open_store(database_url) as other_process:
            await asyncio.gather(store.upgrade(), other_process.upgrade(), store.upgrade())
        async with store.transactions.begin() as work:
            assert await work.stacks.get(HERE, "design") == stack()

    async def test_a_database_of_a_newer_version_is_left_alone(self, store: Store) -> None:
        async with store._engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(StoreTooNew, match=r"schema 9999.*a newer Fanlight wrote it. Start that version"):
            await store.upgrade()


def _anything(column: Any) -> Any:
    if column.nullable:
        return None
    return {"DATETIME": NOW, "INTEGER": 1, "BIGINT": 1, "BOOLEAN": True, "JSON": []}.get(
        "DATETIME" if "UtcDateTime" in type(column.type).__name__ else str(column.type).partition("(")[0], "x"
    )
