"""What every store promises, as tests: `domain.ports.Transactions` and everything reached through it.

A database's own test module subclasses `StoreContract` and gives two fixtures: `database_url`, an empty database, and
`store`, open on it and upgraded.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from store_samples import HERE, NOW, OTHER_ACCOUNT, OTHER_REGION, fleet, image, instance, session, stack

from fanlight.domain.access_keys import AccessKey
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    InvalidCombination,
    NotFound,
    StoreTooNew,
    StoreUnavailable,
)
from fanlight.domain.fleets import FleetError, FleetErrorCode, FleetEvent, FleetState, FleetType, StreamView
from fanlight.domain.images import ImageState, Visibility
from fanlight.domain.instances import InstanceEvent, InstanceState
from fanlight.domain.ports import Transactions
from fanlight.domain.stacks import UserAction
from fanlight.domain.streaming_sessions import EndReason, SessionEvent, SessionState
from fanlight.store import Store, open_store
from fanlight.store import tables as t
from fanlight.store.door import PART_SIZE

WRITER = Path(__file__).with_name("store_writer.py")


async def put(transactions: Transactions, *entities: Any) -> None:
    """Add entities in one unit of work."""
    async with transactions.begin(write=True) as work:
        for entity in entities:
            match type(entity).__name__:
                case "Fleet":
                    await work.fleets.add(entity)
                case "Stack":
                    await work.stacks.add(entity)
                case "Image":
                    await work.images.add(entity)
                case "Instance":
                    await work.instances.add(entity)
                case "StreamingSession":
                    await work.sessions.add(entity)
                case other:
                    raise AssertionError(other)
        await work.commit()


def ids(sessions: Sequence[Any]) -> list[str]:
    return [found.session_id for found in sessions]


class StoreContract:
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
        row.update({name: value for name, value in allowed.items() if name in row})
        row.update({"state": states[table.name], column: "STRANGE"})
        if table is t.streaming_sessions:
            row.update({name: None for name in ("end_reason", "end_requested") if name != column})
        with pytest.raises(IntegrityError):
            async with store._engine.begin() as connection:
                await connection.execute(insert(table), row)

    # ── Fleets and stacks ─────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_fleet_comes_back_as_it_was_put(self, store: Store) -> None:
        whole = fleet(
            state=FleetState.STARTING,
            fleet_type=FleetType.ON_DEMAND,
            stream_view=StreamView.DESKTOP,
            max_user_duration=timedelta(seconds=601),
            disconnect_timeout=timedelta(seconds=61),
            idle_disconnect_timeout=timedelta(seconds=70),
            display_name="",
            description="Zeichnen – Grüße, naïveté 🎨",
            enable_default_internet_access=True,
            errors=(FleetError(FleetErrorCode.IMAGE_NOT_FOUND, "The image is gone.", NOW),),
            launch_failures=3,
            retry_at=NOW + timedelta(minutes=1),
        )
        await put(store.transactions, whole)
        async with store.transactions.begin() as work:
            assert await work.fleets.get(HERE, "cad") == whole
            assert await work.fleets.find(whole.fleet_id) == whole
            assert await work.fleets.find("another") is None
            assert await work.fleets.everywhere() == [whole]

    async def test_a_stack_comes_back_as_it_was_put(self, store: Store) -> None:
        whole = stack(
            display_name="Design",
            description="",
            redirect_url="https://example.org/bye",
            feedback_url="https://example.org/say",
            enabled_actions=frozenset({UserAction.FILE_UPLOAD, UserAction.DOMAIN_PASSWORD_SIGNIN}),
        )
        await put(store.transactions, whole)
        async with store.transactions.begin() as work:
            assert await work.stacks.get(HERE, "design") == whole

    async def test_a_name_is_taken_once_in_a_scope_and_free_in_others(self, store: Store) -> None:
        await put(store.transactions, fleet(), stack())
        await put(
            store.transactions,
            *(make(scope=where) for make in (fleet, stack) for where in (OTHER_ACCOUNT, OTHER_REGION)),
        )
        async with store.transactions.begin(write=True) as work:
            with pytest.raises(AlreadyExists, match="The fleet cad already exists"):
                await work.fleets.add(fleet(fleet_id="new"))
            with pytest.raises(AlreadyExists, match="The stack design already exists"):
                await work.stacks.add(stack(stack_id="new"))
            # The unit is still good for more.
            await work.fleets.add(fleet("cad-2"))
            await work.commit()
        async with store.transactions.begin() as work:
            assert [found.name for found in await work.fleets.page(HERE, limit=10)] == ["cad", "cad-2"]
            assert [found.scope for found in await work.fleets.page(OTHER_ACCOUNT, limit=10)] == [OTHER_ACCOUNT]

    async def test_names_are_paged_in_the_order_of_code_points(self, store: Store) -> None:
        names = ["Zoo", "a-1", "a.1", "aB", "a_1", "ab", "b"]
        await put(store.transactions, *(fleet(name) for name in names), *(stack(name) for name in names))
        async with store.transactions.begin() as work:
            for repository in (work.fleets, work.stacks):
                seen: list[str] = []
                while page := await repository.page(HERE, after=seen[-1] if seen else "", limit=2):
                    seen += [found.name for found in page]
                assert seen == sorted(names)
                named = await repository.page(HERE, names=["b", "missing", "Zoo"], limit=1)
                assert [found.name for found in named] == ["Zoo", "b"]

    async def test_a_missing_name_is_said(self, store: Store) -> None:
        async with store.transactions.begin() as work:
            with pytest.raises(NotFound, match=r"^The fleet x does not exist\.$"):
                await work.fleets.get(HERE, "x")
            with pytest.raises(NotFound, match=r"^The stack x does not exist\.$"):
                await work.stacks.get(HERE, "x")

    # ── Associations ──────────────────────────────────────────────────────────────────────────────────────────────

    async def test_associations_are_seen_from_both_sides_of_their_scope(self, store: Store) -> None:
        await put(
            store.transactions,
            fleet(),
            fleet("b"),
            stack(),
            stack("s2"),
            fleet(scope=OTHER_REGION),
            stack(scope=OTHER_REGION),
        )
        async with store.transactions.begin(write=True) as work:
            for stack_name, fleet_name in (("design", "cad"), ("design", "b"), ("s2", "cad"), ("design", "cad")):
                await work.associations.add(HERE, stack_name, fleet_name)
            await work.commit()
        async with store.transactions.begin(write=True) as work:
            assert await work.associations.fleets_of(HERE, "design") == ["b", "cad"]
            assert await work.associations.fleets_of(HERE, "design", after="b", limit=1) == ["cad"]
            assert await work.associations.stacks_of(HERE, "cad") == ["design", "s2"]
            assert await work.associations.stacks_of(HERE, "cad", limit=1) == ["design"]
            assert await work.associations.fleets_of(OTHER_REGION, "design") == []
            assert await work.associations.remove(HERE, "design", "cad") is True
            assert await work.associations.remove(HERE, "design", "cad") is False
            assert await work.associations.stacks_of(HERE, "cad") == ["s2"]

    async def test_an_associated_fleet_cannot_be_removed_by_any_code(self, store: Store) -> None:
        await put(store.transactions, fleet(), stack())
        async with store.transactions.begin(write=True) as work:
            await work.associations.add(HERE, "design", "cad")
            found = await work.fleets.get(HERE, "cad")
            with pytest.raises(IntegrityError):
                await work.fleets.remove(found)

    # ── Images ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_an_image_comes_back_as_it_was_put(self, store: Store) -> None:
        whole = image(
            state=ImageState.PENDING,
            display_name="Sample",
            description="Five applications",
            base_image_name="Base",
            agent_version="0.1.0",
            image_builder_supported=True,
            supported_instance_families=("General Purpose",),
            public_base_image_released_at=NOW,
        )
        await put(store.transactions, whole)
        async with store.transactions.begin(write=True) as work:
            assert await work.images.find(HERE, name="Sample") == whole
            saved = await work.images.save(replace(whole, state=ImageState.AVAILABLE))
            assert await work.images.find(HERE, name="Sample") == saved
            await work.images.remove(saved)
            assert await work.images.find(HERE, name="Sample") is None

    async def test_public_images_are_seen_everywhere_and_own_ones_come_first(self, store: Store) -> None:
        public, own, foreign = image(), image(scope=HERE), image("Other", scope=OTHER_ACCOUNT)
        await put(store.transactions, public, own, foreign)
        async with store.transactions.begin() as work:
            assert await work.images.find(HERE, name="Sample") == own
            assert await work.images.find(OTHER_REGION, name="Sample") == public
            assert await work.images.find(HERE, name="Other") is None
            assert await work.images.visible(HERE) == [own, public]
            assert await work.images.visible(OTHER_ACCOUNT) == [foreign, public]
            here = "arn:aws:appstream:us-east-1"
            assert await work.images.find(HERE, arn=f"{here}::image/Sample") == public
            assert await work.images.find(HERE, arn=f"{here}:000000000000:image/Sample") == own
            assert await work.images.find(HERE, arn=f"{here}:111111111111:image/Other") is None
            assert await work.images.find(HERE, arn="arn:aws:appstream:eu-west-1::image/Sample") is None
            assert await work.images.find(HERE, arn=f"{here}::fleet/Sample") is None
        assert own.visibility is Visibility.PRIVATE

    # ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_instances_are_found_and_counted(self, store: Store) -> None:
        ready = instance(
            "i-2",
            launched_at=NOW - timedelta(seconds=1),
            state=InstanceState.READY,
            accepted_at=NOW,
            ready_at=NOW,
            retire_reason="why",
        )
        others = [
            instance("i-1"),
            instance("i-3", state=InstanceState.IN_USE, session_id="s-1"),
            instance("i-4", state=InstanceState.IN_USE),
            instance("i-5", fleet_id="fleet-2"),
        ]
        await put(store.transactions, ready, *others)
        async with store.transactions.begin() as work:
            assert await work.instances.find("i-2") == ready
            assert await work.instances.find("i-9") is None
            assert [found.instance_id for found in await work.instances.of_fleet("fleet-1")] == [
                "i-2", "i-1", "i-3", "i-4",
            ]  # fmt: skip
            assert len(await work.instances.everywhere()) == 5
            assert await work.instances.count_by_state(["fleet-1", "fleet-2", "fleet-3"]) == {
                "fleet-1": {InstanceState.LAUNCHING: 1, InstanceState.READY: 1, InstanceState.IN_USE: 2},
                "fleet-2": {InstanceState.LAUNCHING: 1},
            }
            assert await work.instances.count_by_state([]) == {}

    # ── Streaming sessions ────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_session_comes_back_as_it_was_put(self, store: Store) -> None:
        whole = session(
            instance_id="i-1",
            application_id="Editor",
            session_context="a=b",
            started_at=NOW,
            connected_since=NOW,
            disconnected_at=NOW,
            idle_since=NOW,
            end_requested=EndReason.USER,
            end_reason=EndReason.INSTANCE_LOST,
            ended_at=NOW,
            progress="Starting",
        )
        await put(store.transactions, whole)
        async with store.transactions.begin() as work:
            assert await work.sessions.find("s-1") == whole
            assert await work.sessions.find("s-2") is None

    async def test_a_user_has_one_live_session_per_stack_fleet_and_way_of_signing_in(self, store: Store) -> None:
        await put(store.transactions, session())
        for different in (
            {"user_id": "bob"},
            {"stack_name": "other"},
            {"fleet_name": "other"},
            {"authentication_type": "SAML"},
            {"scope": OTHER_ACCOUNT},
            {"scope": OTHER_REGION},
            {"state": SessionState.EXPIRED},
        ):
            await put(store.transactions, session(f"s-{different}", **different))
        async with store.transactions.begin(write=True) as work:
            with pytest.raises(AlreadyExists):
                await work.sessions.add(session("s-again"))
            first = await work.sessions.live_of_user(HERE, "design", "cad", "ada", "API")
            assert first == session()
            assert await work.sessions.live_of_user(HERE, "design", "cad", "nobody", "API") is None
            await work.sessions.save(first.after(SessionEvent.ENDED))
            assert await work.sessions.live_of_user(HERE, "design", "cad", "ada", "API") is None
            await work.sessions.add(session("s-again"))

    async def test_of_many_who_open_at_once_one_makes_the_session(self, store: Store, database_url: str) -> None:
        async def attempt(transactions: Transactions, session_id: str) -> str | None:
            try:
                async with transactions.begin(write=True) as work:
                    await work.sessions.add(session(session_id))
                    await work.commit()
            except AlreadyExists:
                return None
            return session_id

        async with open_store(database_url) as other_process:
            made = await asyncio.gather(
                *(attempt(one.transactions, f"s-{id(one)}-{i}") for i in range(3) for one in (store, other_process))
            )
        async with store.transactions.begin() as work:
            assert ids(await work.sessions.live()) == [made_one for made_one in made if made_one]

    async def test_sessions_are_paged_and_filtered(self, store: Store) -> None:
        await put(
            store.transactions,
            session("s-3", user_id="c", instance_id="i-3"),
            session("s-1", user_id="a"),
            session("s-2", user_id="b", state=SessionState.EXPIRED),
            session("s-4", user_id="a", authentication_type="SAML"),
            session("s-5", user_id="d", stack_name="other"),
            session("s-6", user_id="a", scope=OTHER_REGION),
        )
        async with store.transactions.begin() as work:

            async def page(**arguments: Any) -> list[str]:
                arguments = {"authentication_type": "API", "limit": 10, **arguments}
                return ids(await work.sessions.page(HERE, "design", "cad", **arguments))

            assert await page() == ["s-1", "s-2", "s-3"]
            assert await page(limit=1) == ["s-1"]
            assert await page(after="s-1", limit=1) == ["s-2"]
            assert await page(user_id="a") == ["s-1"]
            assert await page(user_id="a", authentication_type="SAML") == ["s-4"]
            assert await page(instance_id="i-3") == ["s-3"]
            assert await page(user_id="a", instance_id="i-3") == []

    async def test_live_sessions_of_one_fleet_or_all(self, store: Store) -> None:
        await put(
            store.transactions,
            session("s-2", user_id="b", created_at=NOW - timedelta(seconds=1)),
            session("s-1", user_id="a", state=SessionState.ACTIVE),
            session("s-3", user_id="c", state=SessionState.EXPIRED),
            session("s-4", user_id="d", fleet_id="fleet-2"),
        )
        async with store.transactions.begin() as work:
            assert ids(await work.sessions.live()) == ["s-2", "s-1", "s-4"]
            assert ids(await work.sessions.live("fleet-1")) == ["s-2", "s-1"]

    async def test_answers_with_thousands_of_rows_come_whole(self, store: Store) -> None:
        wanted = [session(f"s-{number:04}", user_id=f"user-{number}") for number in range(2 * PART_SIZE + 1)]
        await put(store.transactions, *wanted)
        async with store.transactions.begin() as work:
            assert await work.sessions.live() == wanted

    async def test_pruning_forgets_what_ended_long_ago_and_nothing_else(self, store: Store) -> None:
        old = NOW - timedelta(hours=2)
        await put(
            store.transactions,
            session("s-1", user_id="a", state=SessionState.EXPIRED, ended_at=old),
            session("s-2", user_id="b", state=SessionState.EXPIRED, ended_at=NOW),
            session("s-3", user_id="c", state=SessionState.ACTIVE, ended_at=old),
        )
        async with store.transactions.begin(write=True) as work:
            assert await work.sessions.prune(NOW) == 1
            assert [await work.sessions.find(one) is None for one in ("s-1", "s-2", "s-3")] == [True, False, False]

    # ── Tags and keys ─────────────────────────────────────────────────────────────────────────────────────────────

    async def test_tags_are_put_over_and_dropped(self, store: Store) -> None:
        async with store.transactions.begin(write=True) as work:
            await work.tags.put("arn:1", {"Team": "cad", "empty": ""})
            await work.tags.put("arn:1", {"Team": "design", "team": "x"})
            await work.tags.put("arn:2", {"Team": "other"})
            await work.tags.put("arn:3", {})
            assert await work.tags.of("arn:1") == {"Team": "design", "empty": "", "team": "x"}
            assert await work.tags.of("arn:3") == {}
            await work.tags.drop("arn:1", ["team", "absent"])
            assert await work.tags.of("arn:1") == {"Team": "design", "empty": ""}
            await work.tags.drop("arn:1")
            assert (await work.tags.of("arn:1"), await work.tags.of("arn:2")) == ({}, {"Team": "other"})

    async def test_access_keys_are_kept_found_and_removed(self, store: Store) -> None:
        lasting = AccessKey(access_key_id="AKIA1", secret_access_key="s1", account_id="1", created_at=NOW)
        passing = AccessKey(
            access_key_id="ASIA2",
            secret_access_key="s2",
            account_id="2",
            session_token="token",
            expires_at=NOW,
            created_at=NOW,
        )
        async with store.transactions.begin(write=True) as work:
            await work.access_keys.add(passing)
            await work.access_keys.add(lasting)
            with pytest.raises(AlreadyExists):
                await work.access_keys.add(lasting)
            assert await work.access_keys.find("ASIA2") == passing
            assert await work.access_keys.find("AKIA9") is None
            assert await work.access_keys.all() == [lasting, passing]
            assert await work.access_keys.remove("AKIA1") is True
            assert await work.access_keys.remove("AKIA1") is False

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
