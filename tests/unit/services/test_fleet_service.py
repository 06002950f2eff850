"""Fleets as administrators know them: defaults, ranges, what each state allows, and every refusal's text."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from service_rig import ELSEWHERE, HERE, NOW, SAMPLE, SAMPLE_ARN, Rig, new_fleet

from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    DomainError,
    IncompatibleImage,
    InUse,
    InvalidCombination,
    NotAvailable,
    NotFound,
    NotPermitted,
    NotSupported,
)
from fanlight.domain.fleet_capacity import Capacity
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause
from fanlight.domain.fleets import FleetEvent, FleetState, FleetType, StreamView, VpcConfig
from fanlight.domain.images import ImageState
from fanlight.services.fleet_wishes import FleetChange
from fanlight.services.fleets import FleetService
from fanlight.services.page_tokens import PageTokens
from fanlight.services.stacks import NewStack

PATH_TO = {
    FleetState.STOPPED: (),
    FleetState.STARTING: (FleetEvent.START_REQUESTED,),
    FleetState.RUNNING: (FleetEvent.START_REQUESTED, FleetEvent.CAPACITY_REACHED),
    FleetState.STOPPING: (FleetEvent.START_REQUESTED, FleetEvent.STOP_REQUESTED),
}


async def test_a_new_fleet_is_stopped_and_has_the_documented_defaults(rig: Rig) -> None:
    made = await rig.services.fleets.create(HERE, new_fleet())
    fleet = made.fleet
    assert (fleet.state, fleet.fleet_type, fleet.stream_view) == (
        FleetState.STOPPED,
        FleetType.ALWAYS_ON,
        StreamView.APP,
    )
    assert (fleet.max_user_duration, fleet.disconnect_timeout, fleet.idle_disconnect_timeout) == (
        timedelta(seconds=57600),
        timedelta(seconds=900),
        timedelta(0),
    )
    assert (fleet.display_name, fleet.description, fleet.enable_default_internet_access) == (None, None, False)
    assert (fleet.errors, fleet.created_at, fleet.platform) == ((), NOW, "UBUNTU_PRO_2404")
    assert fleet.arn == "arn:aws:appstream:us-east-1:000000000000:fleet/cad"
    assert made.capacity == Capacity(desired=2, running=0, in_use=0, available=0)
    assert rig.woken == []
    assert await rig.services.fleets.describe(HERE) == ((made,), None)


@pytest.mark.parametrize("image", [{"image_name": "Sample"}, {"image_arn": SAMPLE_ARN, "image_name": None}])
async def test_image_name_and_arn_are_both_filled_in(rig: Rig, image: dict[str, Any]) -> None:
    fleet = (await rig.services.fleets.create(HERE, new_fleet(**image))).fleet
    assert (fleet.image_name, fleet.image_arn) == ("Sample", SAMPLE_ARN)


async def test_everything_given_is_kept(rig: Rig) -> None:
    wanted = new_fleet(
        fleet_type=FleetType.ON_DEMAND,
        stream_view=StreamView.DESKTOP,
        platform="UBUNTU_PRO_2404",
        max_user_duration_in_seconds=600,
        disconnect_timeout_in_seconds=36000,
        idle_disconnect_timeout_in_seconds=70,
        display_name="",
        description="d",
        enable_default_internet_access=True,
        desired_instances=0,
        tags={"Team": "cad"},
    )
    fleet = (await rig.services.fleets.create(HERE, wanted)).fleet
    assert fleet == replace(
        await rig.fleet(),
        fleet_type=FleetType.ON_DEMAND,
        stream_view=StreamView.DESKTOP,
        max_user_duration=timedelta(seconds=600),
        disconnect_timeout=timedelta(seconds=36000),
        idle_disconnect_timeout=timedelta(seconds=70),
        display_name="",
        description="d",
        enable_default_internet_access=True,
        desired_instances=0,
    )
    assert await rig.services.tags.of(HERE, fleet.arn) == {"Team": "cad"}


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"max_user_duration_in_seconds": 599}, InvalidCombination, "MaxUserDurationInSeconds is 599; it must be between 600 and 432000."),
        ({"max_user_duration_in_seconds": 432001}, InvalidCombination, "MaxUserDurationInSeconds is 432001; it must be between 600 and 432000."),
        ({"disconnect_timeout_in_seconds": 59}, InvalidCombination, "DisconnectTimeoutInSeconds is 59; it must be between 60 and 36000."),
        ({"disconnect_timeout_in_seconds": 10**30}, InvalidCombination, f"DisconnectTimeoutInSeconds is {10**30}; it must be between 60 and 36000."),
        ({"idle_disconnect_timeout_in_seconds": 59}, InvalidCombination, "IdleDisconnectTimeoutInSeconds is 59; it must be 0, or between 60 and 36000."),
        ({"desired_instances": -1}, InvalidCombination, "DesiredInstances is -1; it must be between 0 and 10000."),
        ({"desired_instances": 10001}, InvalidCombination, "DesiredInstances is 10001; it must be between 0 and 10000."),
        ({"image_name": None}, InvalidCombination, "Name the image: give ImageName or ImageArn."),
        ({"image_name": "Lost"}, NotFound, "The image Lost does not exist."),
        ({"image_name": None, "image_arn": SAMPLE_ARN + "x"}, NotFound, f"The image {SAMPLE_ARN}x does not exist."),
        ({"image_name": "Lost", "image_arn": SAMPLE_ARN}, InvalidCombination, f"ImageName Lost and ImageArn {SAMPLE_ARN} are two images. Give one of them."),
        ({"platform": "WINDOWS"}, InvalidCombination, "The platform of the image Sample is UBUNTU_PRO_2404, not WINDOWS. Leave Platform out."),
        ({"instance_type": "stream.graphics.g5.xlarge"}, NotSupported, "The instance type stream.graphics.g5.xlarge is not offered here. Choose one of: stream.compute.2xlarge, "),
    ],
)  # fmt: skip
async def test_wrong_values_are_refused_and_nothing_is_made(
    rig: Rig, wrong: dict[str, Any], error: type[DomainError], text: str
) -> None:
    with pytest.raises(error) as raised:
        await rig.services.fleets.create(HERE, new_fleet(**wrong))
    assert str(raised.value).startswith(text)
    assert await rig.services.fleets.describe(HERE) == ((), None)


async def test_an_image_that_is_not_available_makes_no_fleet(rig: Rig) -> None:
    async with rig.transactions.begin(write=True) as work:
        public = await work.images.find(HERE, name="Sample")
        assert public is not None
        image = replace(public, image_id="own", scope=HERE, state=ImageState.PENDING)
        await work.images.add(image)
        await work.commit()
    with pytest.raises(NotAvailable, match=r"The image Sample is PENDING\. Wait until it is AVAILABLE"):
        await rig.services.fleets.create(HERE, new_fleet())
    async with rig.transactions.begin(write=True) as work:
        await work.images.save(
            replace(image, state=ImageState.AVAILABLE, supported_instance_families=("Memory Optimized",))
        )
        await work.commit()
    with pytest.raises(
        IncompatibleImage, match=r"runs on Memory Optimized, and stream\.standard\.medium is General Purpose"
    ):
        await rig.services.fleets.create(HERE, new_fleet())


async def test_names_are_unique_in_a_scope_and_scopes_do_not_see_each_other(rig: Rig) -> None:
    await rig.services.fleets.create(HERE, new_fleet())
    with pytest.raises(AlreadyExists, match=r"The fleet cad already exists\."):
        await rig.services.fleets.create(HERE, new_fleet())
    for scope in ELSEWHERE:
        assert await rig.services.fleets.describe(scope) == ((), None)
        for attempt in (
            rig.services.fleets.describe(scope, names=["cad"]),
            rig.services.fleets.update(scope, "cad", FleetChange(description="mine")),
            rig.services.fleets.start(scope, "cad"),
            rig.services.fleets.stop(scope, "cad"),
            rig.services.fleets.delete(scope, "cad"),
        ):
            with pytest.raises(NotFound, match=r"^The fleet cad does not exist\.$"):
                await attempt
        made = (await rig.services.fleets.create(scope, new_fleet())).fleet
        assert made.arn == f"arn:aws:appstream:{scope.region}:{scope.account_id}:fleet/cad"
    assert (await rig.fleet()).version == 0


# ── States ────────────────────────────────────────────────────────────────────────────────────────────────────────────

# What start, stop, delete and an update of the description do in each state: the new state, "=" for success without a
# change, "-" for gone, or the error.
MATRIX = """
          start        stop      delete  update
STOPPED   STARTING     =         -       STOPPED
STARTING  =            STOPPING  InUse   InUse
RUNNING   =            STOPPING  InUse   InUse
STOPPING  NotPermitted =         InUse   InUse
"""
_HEADER, *_ROWS = [line.split() for line in MATRIX.strip().splitlines()]
CELLS = [
    (FleetState(row[0]), intent, outcome) for row in _ROWS for intent, outcome in zip(_HEADER, row[1:], strict=True)
]
ERRORS = {"InUse": InUse, "NotPermitted": NotPermitted}


@pytest.mark.parametrize(("state", "intent", "outcome"), CELLS)
async def test_what_each_state_allows(rig: Rig, state: FleetState, intent: str, outcome: str) -> None:
    await rig.services.fleets.create(HERE, new_fleet())
    before = await rig.apply("cad", *PATH_TO[state])
    intents = {
        "start": lambda: rig.services.fleets.start(HERE, "cad"),
        "stop": lambda: rig.services.fleets.stop(HERE, "cad"),
        "delete": lambda: rig.services.fleets.delete(HERE, "cad"),
        "update": lambda: rig.services.fleets.update(HERE, "cad", FleetChange(description="new")),
    }
    if outcome in ERRORS:
        with pytest.raises(ERRORS[outcome]) as raised:
            await intents[intent]()
        assert str(raised.value).startswith(f"The fleet cad is {state}.")
        assert await rig.fleet() == before
        return
    await intents[intent]()
    if outcome == "-":
        with pytest.raises(NotFound):
            await rig.fleet()
    elif outcome == "=":
        assert await rig.fleet() == before
        assert rig.woken == []
    else:
        assert (await rig.fleet()).state == outcome
        assert rig.woken == [("fleet", before.fleet_id)]


async def test_starting_forgets_the_failures_of_the_last_time(rig: Rig) -> None:
    await rig.services.fleets.create(HERE, new_fleet())
    failure = FleetError(FleetErrorCause.ENGINE_AWAY, "No room.", NOW)
    await rig.apply("cad", errors=(failure,), launch_failures=4, retry_at=NOW)
    await rig.services.fleets.start(HERE, "cad")
    fleet = await rig.fleet()
    assert (fleet.errors, fleet.launch_failures, fleet.retry_at) == ((), 0, None)


async def test_an_associated_fleet_is_not_deleted(rig: Rig) -> None:
    await rig.services.fleets.create(HERE, new_fleet())
    await rig.services.stacks.create(HERE, NewStack(name="design"))
    await rig.services.associations.associate(HERE, "design", "cad")
    with pytest.raises(InUse) as raised:
        await rig.services.fleets.delete(HERE, "cad")
    assert str(raised.value) == (
        "The fleet cad is associated with a stack. To delete the fleet, you must dissociate it from the stack."
    )


# ── Update ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stopped_fleet_changes_in_everything(rig: Rig) -> None:
    await rig.services.images.sync_public_images([replace(SAMPLE, name="Newer", store_ref="newer")])
    before = (await rig.services.fleets.create(HERE, new_fleet())).fleet
    change = FleetChange(
        instance_type="stream.memory.large",
        desired_instances=5,
        image_name="Newer",
        stream_view=StreamView.DESKTOP,
        max_user_duration_in_seconds=1000,
        disconnect_timeout_in_seconds=1001,
        idle_disconnect_timeout_in_seconds=1002,
        display_name="n",
        description="",
        enable_default_internet_access=True,
        root_volume_in_gib=200,
        disable_imdsv1=True,
        subnet_ids=("subnet-1",),
        security_group_ids=("sg-1",),
    )
    described = await rig.services.fleets.update(HERE, "cad", change)
    assert described.fleet == replace(
        before,
        version=1,
        instance_type="stream.memory.large",
        desired_instances=5,
        image_name="Newer",
        image_arn="arn:aws:appstream:us-east-1::image/Newer",
        stream_view=StreamView.DESKTOP,
        max_user_duration=timedelta(seconds=1000),
        disconnect_timeout=timedelta(seconds=1001),
        idle_disconnect_timeout=timedelta(seconds=1002),
        display_name="n",
        description="",
        enable_default_internet_access=True,
        root_volume_in_gib=200,
        disable_imdsv1=True,
        vpc_config=VpcConfig(("subnet-1",), ("sg-1",)),
    )
    assert described.capacity.desired == 5
    assert await rig.fleet() == described.fleet


async def test_a_running_fleet_changes_in_what_its_instances_do_not_carry(rig: Rig) -> None:
    await rig.services.images.sync_public_images([replace(SAMPLE, name="Newer", store_ref="newer")])
    await rig.services.fleets.create(HERE, new_fleet())
    before = await rig.run_fleet()
    allowed = FleetChange(
        display_name="n",
        desired_instances=1,
        image_name="Newer",
        disconnect_timeout_in_seconds=60,
        idle_disconnect_timeout_in_seconds=60,
        # As they are: no change, so no reason to refuse.
        instance_type=before.instance_type,
        stream_view=before.stream_view,
        max_user_duration_in_seconds=57600,
        enable_default_internet_access=False,
    )
    after = (await rig.services.fleets.update(HERE, "cad", allowed)).fleet
    assert (after.display_name, after.desired_instances, after.image_name) == ("n", 1, "Newer")
    assert rig.woken == [("fleet", before.fleet_id)]


@pytest.mark.parametrize(
    ("change", "member"),
    [
        (FleetChange(instance_type="stream.standard.large"), "InstanceType"),
        (FleetChange(stream_view=StreamView.DESKTOP), "StreamView"),
        (FleetChange(max_user_duration_in_seconds=600), "MaxUserDurationInSeconds"),
        (FleetChange(description="x"), "Description"),
        (FleetChange(enable_default_internet_access=True), "EnableDefaultInternetAccess"),
        (FleetChange(subnet_ids=("subnet-1",)), "VpcConfig"),
        (FleetChange(root_volume_in_gib=200), "RootVolumeConfig"),
        (FleetChange(disable_imdsv1=True), "DisableIMDSV1"),
    ],
)
async def test_a_running_fleet_refuses_the_rest_by_name(rig: Rig, change: FleetChange, member: str) -> None:
    await rig.services.fleets.create(HERE, new_fleet())
    before = await rig.run_fleet()
    with pytest.raises(InUse, match=f"The fleet cad is RUNNING. Stop it before changing {member}."):
        await rig.services.fleets.update(HERE, "cad", change)
    assert await rig.fleet() == before


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (FleetChange(disconnect_timeout_in_seconds=0), InvalidCombination, "DisconnectTimeoutInSeconds is 0"),
        (FleetChange(image_name="Lost"), NotFound, "The image Lost does not exist."),
        (FleetChange(instance_type="t2.micro"), NotSupported, "The instance type t2.micro is not offered here."),
        (FleetChange(platform="WINDOWS"), InvalidCombination, "The platform of the image Sample"),
    ],
)
async def test_an_update_is_checked_as_a_creation_is(
    rig: Rig, change: FleetChange, error: type[DomainError], text: str
) -> None:
    before = (await rig.services.fleets.create(HERE, new_fleet())).fleet
    with pytest.raises(error, match=text):
        await rig.services.fleets.update(HERE, "cad", change)
    assert await rig.fleet() == before


async def test_of_two_updates_at_once_none_is_lost(rig: Rig) -> None:
    """Services read and write in one write unit; who saves what was read before somebody else's save is told."""
    await rig.services.fleets.create(HERE, new_fleet())
    stale = await rig.fleet()
    await asyncio.gather(
        rig.services.fleets.update(HERE, "cad", FleetChange(description="d")),
        rig.services.fleets.update(HERE, "cad", FleetChange(display_name="n")),
    )
    fleet = await rig.fleet()
    assert (fleet.description, fleet.display_name, fleet.version) == ("d", "n", 2)
    async with rig.transactions.begin(write=True) as work:
        with pytest.raises(ChangedMeanwhile, match=r"changed by another request at the same time\. Try again"):
            await work.fleets.save(stale)


async def test_an_update_is_tried_at_once(rig: Rig) -> None:
    await rig.services.fleets.create(HERE, new_fleet())
    await rig.run_fleet()
    failure = FleetError(FleetErrorCause.NO_ROOM, "No room.", NOW)
    await rig.apply("cad", errors=(failure,), launch_failures=4, retry_at=NOW + timedelta(seconds=60))
    fleet = (await rig.services.fleets.update(HERE, "cad", FleetChange(desired_instances=1))).fleet
    assert (fleet.errors, fleet.launch_failures, fleet.retry_at) == ((failure,), 0, None)


async def test_a_pool_that_cannot_limit_root_volumes_refuses_their_size(rig: Rig) -> None:
    answers = {"can": False}

    async def can() -> bool:
        return answers["can"]

    fleets = FleetService(rig.transactions, rig.clock, lambda *_: None, PageTokens(b"k" * 32), can)
    with pytest.raises(NotSupported, match=r"^RootVolumeConfig is not supported: the storage pool"):
        await fleets.create(HERE, new_fleet(root_volume_in_gib=200))
    await fleets.create(HERE, new_fleet())
    with pytest.raises(NotSupported, match=r"^RootVolumeConfig is not supported: the storage pool"):
        await fleets.update(HERE, "cad", FleetChange(root_volume_in_gib=200))
    answers["can"] = True
    assert (await fleets.update(HERE, "cad", FleetChange(root_volume_in_gib=200))).fleet.root_volume_in_gib == 200


async def test_deleting_a_fleet_deletes_its_tags(rig: Rig) -> None:
    fleet = (await rig.services.fleets.create(HERE, new_fleet(tags={"Team": "cad"}))).fleet
    await rig.services.fleets.delete(HERE, "cad")
    with pytest.raises(NotFound):
        await rig.services.tags.of(HERE, fleet.arn)
    await rig.services.fleets.create(HERE, new_fleet())
    assert await rig.services.tags.of(HERE, fleet.arn) == {}
