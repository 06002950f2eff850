"""What every store promises of the contents it keeps: each repository, and what it finds again."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from store_samples import (
    HERE,
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    fleet,
    image,
    image_builder,
    instance,
    put,
    session,
    stack,
)

from fanlight.domain.access_keys import AccessKey
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    NotFound,
)
from fanlight.domain.fleet_capacity import SlotCounts
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause
from fanlight.domain.fleets import FleetState, FleetType, StreamView, VpcConfig
from fanlight.domain.image_builders import ImageBuilderState, StateChangeCode, StateChangeReason
from fanlight.domain.image_tasks import BuildTask, CopyTask, ImageTask, ImportTask, UpdateTask
from fanlight.domain.images import ImageError, ImageFailure, ImagePermission, ImageState, Visibility
from fanlight.domain.instances import InstanceState
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.policies import read_only_policy
from fanlight.domain.ports import Transactions
from fanlight.domain.stacks import PreferredProtocol, UrlRedirection, UserAction, UserSettings
from fanlight.domain.streaming_sessions import EndReason, SessionEvent, SessionState
from fanlight.domain.unsent_files import SettingsLoss, UnsentFiles
from fanlight.domain.user_storage import StorageConnector, StorageKind
from fanlight.store import Store, open_store
from fanlight.store.door import PART_SIZE

CONNECTORS = (
    StorageConnector(kind=StorageKind.HOMEFOLDERS),
    StorageConnector(kind=StorageKind.ONE_DRIVE, domains=("b.example", "a.example")),
)

HOUR = timedelta(hours=1)
UNSENT, LOST = UnsentFiles(files=2, size_in_bytes=5_000), UnsentFiles(files=1, size_in_bytes=10, are_lost=True)
WRITER = Path(__file__).with_name("store_writer.py")


def ids(sessions: Sequence[Any]) -> list[str]:
    return [found.session_id for found in sessions]


class StoreContentsContract:
    # ── Image builders ────────────────────────────────────────────────────────────────────────────────────────────

    async def test_an_image_builder_comes_back_as_it_was_put(self, store: Store) -> None:
        whole = image_builder(
            state=ImageBuilderState.SNAPSHOTTING,
            display_name="",
            description="Zeichnen",
            vpc_config=VpcConfig(("subnet-1",), ("sg-1",)),
            enable_default_internet_access=True,
            access_endpoints=("vpce-1",),
            root_volume_in_gib=200,
            disable_imdsv1=True,
            accepted_at=NOW + timedelta(seconds=1),
            has_run=True,
            launch_failures=2,
            retry_at=NOW + timedelta(minutes=1),
            reason=StateChangeReason(StateChangeCode.IMAGE_UNAVAILABLE, "The image is gone."),
            errors=(FleetError(FleetErrorCause.IMAGE_UNKNOWN, "The image is gone.", NOW),),
            network_interface=NetworkInterface(interface_id="eni-1", address="10.0.0.2", subnet_id="subnet-1"),
            snapshot_image_id="img-1",
            is_prepared=True,
        )
        await put(store.transactions, whole, image_builder("plain"), image_builder(scope=OTHER_ACCOUNT))
        async with store.transactions.begin() as work:
            assert await work.image_builders.get(HERE, "workshop") == whole
            assert await work.image_builders.find(whole.builder_id) == whole
            assert await work.image_builders.of_instance(whole.instance_id) == whole
            assert await work.image_builders.of_instance("i-other") is None
            assert [b.name for b in await work.image_builders.page(HERE, limit=9)] == ["plain", "workshop"]
            assert [b.name for b in await work.image_builders.page(HERE, after="plain", limit=9)] == ["workshop"]
            assert await work.image_builders.page(HERE, names=["workshop", "x"], limit=9) == [whole]
            assert len(await work.image_builders.everywhere()) == 3
            with pytest.raises(NotFound):
                await work.image_builders.get(OTHER_REGION, "workshop")
        async with store.transactions.begin(write=True) as work:
            with pytest.raises(AlreadyExists):
                await work.image_builders.add(image_builder(instance_id="i-another"))
            await work.image_builders.remove(whole)
            await work.commit()

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
            errors=(FleetError(FleetErrorCause.IMAGE_UNKNOWN, "The image is gone.", NOW),),
            launch_failures=3,
            retry_at=NOW + timedelta(minutes=1),
            vpc_config=VpcConfig(("subnet-1", "subnet-2"), ("sg-1",)),
            max_sessions_per_instance=5,
            desired_sessions=7,
            root_volume_in_gib=200,
            disable_imdsv1=False,
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
            maximum_lengths={UserAction.CLIPBOARD_COPY_TO_LOCAL_DEVICE: 100},
            settings_group="design",
            embed_host_domains=("b.example.org", "a.example.org"),
            access_endpoints=("vpce-1",),
            preferred_protocol=PreferredProtocol.UDP,
            content_redirection=UrlRedirection(False, ("https://example.org/*",), None),  # noqa: FBT003
            storage_connector_authentication="REUSE_CREDENTIALS",
            storage_connectors=CONNECTORS,
            storage_problem="The bucket is away.",
        )
        await put(store.transactions, whole)
        async with store.transactions.begin() as work:
            assert await work.stacks.get(HERE, "design") == whole

    async def test_stacks_with_storage_are_found_in_one_scope_and_in_all(self, store: Store) -> None:
        here, there = (stack(storage_connectors=CONNECTORS, scope=scope) for scope in (HERE, OTHER_REGION))
        await put(store.transactions, here, there, stack("without"))
        async with store.transactions.begin() as work:
            assert await work.stacks.with_storage(HERE) == [here]
            assert sorted(found.scope.region for found in await work.stacks.with_storage()) == sorted(
                (HERE.region, OTHER_REGION.region)
            )
        async with store.transactions.begin(write=True) as work:
            await work.stacks.save(here := replace(here, storage_connectors=(), settings_group="drawing"))
            await work.commit()
        async with store.transactions.begin() as work:
            assert [found.name for found in await work.stacks.with_storage(HERE)] == [here.name]
        async with store.transactions.begin(write=True) as work:
            await work.stacks.save(replace((await work.stacks.with_storage(HERE))[0], settings_group=None))
            await work.commit()
        async with store.transactions.begin() as work:
            assert await work.stacks.with_storage(HERE) == []

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
            base_image_arn="arn:aws:appstream:::image/Base",
            agent_version="0.1.0",
            image_builder_supported=True,
            is_imported=True,
            supported_instance_families=("General Purpose",),
            public_base_image_released_at=NOW,
            image_builder_name="workbench",
            failure=ImageFailure.INTERNAL_ERROR,
            failure_message="The disk is full.",
            errors=(ImageError("INTERNAL_SERVICE_ERROR", "The disk is full.", NOW),),
            size_in_bytes=5_000_000_000,
            progress="packing",
            task=BuildTask(builder_id="b-1", instance_id="i-1"),
        )
        await put(store.transactions, whole)
        async with store.transactions.begin(write=True) as work:
            assert await work.images.find(HERE, name="Sample") == whole
            saved = await work.images.save(replace(whole, state=ImageState.AVAILABLE))
            assert await work.images.find(HERE, name="Sample") == saved
            await work.images.remove(saved)
            assert await work.images.find(HERE, name="Sample") is None

    @pytest.mark.parametrize(
        "task",
        [
            BuildTask(builder_id="b-1", instance_id="i-1"),
            CopyTask(source_image_id="a", source_region="eu-west-1"),
            UpdateTask(source_image_id="a"),
            ImportTask(source="s3://bucket/key"),
            None,
        ],
    )
    async def test_a_task_comes_back_as_it_was_put(self, store: Store, task: ImageTask | None) -> None:
        await put(store.transactions, image(scope=HERE, task=task, state=ImageState.COPYING))
        async with store.transactions.begin(write=True) as work:
            found = await work.images.find(HERE, name="Sample")
            assert found is not None
            assert found.task == task
            assert await work.images.find_by_id(found.image_id) == found
            assert await work.images.everywhere() == [found]
            assert (await work.images.save(found)).state is ImageState.COPYING
            with pytest.raises(ChangedMeanwhile):
                await work.images.save(replace(found, state=ImageState.DELETING, version=1))

    async def test_a_shared_image_is_found_by_its_arn_alone(self, store: Store) -> None:
        own, elsewhere = image("Cad", scope=HERE), image("Cad", scope=OTHER_REGION)
        await put(store.transactions, own, elsewhere)
        granted = ImagePermission(
            image_id=own.image_id,
            shared_account_id=OTHER_ACCOUNT.account_id,
            allow_fleet=True,
            allow_image_builder=False,
        )
        arn = own.arn_in("us-east-1")
        async with store.transactions.begin(write=True) as work:
            assert await work.images.find(OTHER_ACCOUNT, arn=arn) is None
            await work.image_permissions.put(replace(granted, allow_fleet=False))
            await work.image_permissions.put(granted)
            assert await work.image_permissions.of_image(own.image_id) == [granted]
            assert await work.image_permissions.shared_with(OTHER_ACCOUNT) == [(own, granted)]
            assert await work.image_permissions.shared_with(HERE) == []
            assert await work.image_permissions.shared_ids(HERE) == {own.image_id}
            assert await work.image_permissions.shared_ids(OTHER_REGION) == frozenset()
            assert await work.images.find(OTHER_ACCOUNT, arn=arn) == own
            assert await work.images.find(OTHER_ACCOUNT, name="Cad") is None
            assert await work.images.visible(OTHER_ACCOUNT) == []
            assert await work.image_permissions.drop(own.image_id, OTHER_ACCOUNT.account_id)
            assert not await work.image_permissions.drop(own.image_id, OTHER_ACCOUNT.account_id)
            assert await work.images.find(OTHER_ACCOUNT, arn=arn) is None

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
            instance("i-3", state=InstanceState.IN_USE, places=3, session_ids=("s-1", "s-2")),
            instance("i-4", state=InstanceState.IN_USE, places=3, session_ids=("s-3",), is_draining=True),
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
            counted = await work.instances.count_by_state(["fleet-1", "fleet-2"])
            assert counted["fleet-1"].slots == SlotCounts(
                slots=4, active=2, draining_instances=1, draining_slots=3, draining_active=1
            )
            assert counted["fleet-2"].slots == SlotCounts()
            assert await work.instances.find("i-3") == others[1]
            assert await work.instances.find("i-4") == others[2]
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
            is_idle_disconnected=True,
            idle_since=NOW,
            end_requested=EndReason.USER,
            end_reason=EndReason.INSTANCE_LOST,
            ended_at=NOW,
            progress="Starting",
            user_settings=UserSettings(enabled_actions=frozenset({UserAction.FILE_UPLOAD}), max_copy_from=7),
            time_zone="Europe/Berlin",
            network_interface=NetworkInterface(interface_id="eni-1", address="10.140.0.5", subnet_id="subnet-a"),
            storage_connectors=CONNECTORS,
            settings_group="drawing",
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
            session("s-4", user_id="d", state=SessionState.EXPIRED, ended_at=old, unsent=UNSENT),
            session("s-5", user_id="e", state=SessionState.EXPIRED, ended_at=old - HOUR, unsent=LOST),
        )
        async with store.transactions.begin(write=True) as work:
            assert await work.sessions.prune(NOW, old) == 2
            left = [one for one in ("s-1", "s-2", "s-3", "s-4", "s-5") if await work.sessions.find(one)]
            assert left == ["s-2", "s-3", "s-4"]

    async def test_what_a_user_saved_and_is_not_sent_is_found_whatever_the_stack(self, store: Store) -> None:
        expired = {"user_id": "ada", "state": SessionState.EXPIRED, "ended_at": NOW}
        await put(
            store.transactions,
            session("s-1", **expired, unsent=UNSENT),
            session(
                "s-2",
                **expired,
                unsent=LOST,
                stack_name="other",
                lost_before=LOST,
                settings_loss=SettingsLoss.TOO_LARGE,
            ),
            session("s-3", **expired),
            session("s-4", **expired | {"user_id": "bob"}, unsent=UNSENT),
            session("s-5", **expired, unsent=UNSENT, authentication_type="SAML"),
            session("s-6", **expired, unsent=UNSENT, scope=OTHER_REGION),
            session("s-7", user_id="ada", state=SessionState.ACTIVE, unsent=UNSENT),
        )
        async with store.transactions.begin() as work:
            found = {one.session_id: one for one in await work.sessions.unsent_of_user(HERE, "ada", "API")}
            of_all = await work.sessions.unsent()
        assert sorted(found) == ["s-1", "s-2"]
        assert sorted(one.session_id for one in of_all) == ["s-1", "s-2", "s-4", "s-5", "s-6"]
        assert found["s-1"].unsent == UNSENT
        assert (found["s-2"].unsent, found["s-2"].lost_before) == (LOST, LOST)
        assert (found["s-2"].settings_loss, found["s-1"].settings_loss) == (SettingsLoss.TOO_LARGE, None)

    # ── Tags and keys ─────────────────────────────────────────────────────────────────────────────────────────────

    async def test_tags_are_put_over_and_dropped(self, store: Store) -> None:
        async with store.transactions.begin(write=True) as work:
            await work.tags.put("arn:1", {"Team": "cad", "empty": ""})
            await work.tags.put("arn:1", {"Team": "design", "team": "x"})
            await work.tags.put("arn:2", {"Team": "other"})
            await work.tags.put("arn:3", {})
            assert await work.tags.of("arn:1") == {"Team": "design", "empty": "", "team": "x"}
            assert await work.tags.of("arn:3") == {}
            assert await work.tags.under("arn:") == {
                "arn:1": {"Team": "design", "empty": "", "team": "x"},
                "arn:2": {"Team": "other"},
            }
            assert await work.tags.under("arn:1") == {"arn:1": {"Team": "design", "empty": "", "team": "x"}}
            assert await work.tags.under("ARN:") == await work.tags.under("arn_") == {}
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
            policy=read_only_policy(),
            person="ada",
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
