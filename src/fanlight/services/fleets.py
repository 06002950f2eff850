"""Fleets: what administrators may ask of them.

Start and stop record the wish and wake the fleet's reconciler; the state that clients poll changes in the same
transaction, so the next describe shows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from fanlight.domain.errors import IncompatibleImage, InUse, InvalidCombination, NotAvailable, NotFound, NotPermitted
from fanlight.domain.fleets import FLEET, Fleet, FleetEvent, FleetState, FleetType, StreamView
from fanlight.domain.images import Image, ImageState
from fanlight.domain.instance_types import size_of
from fanlight.domain.instances import InstanceState
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.services.names import all_named
from fanlight.services.page_tokens import PageTokens, cut

PAGE_SIZE = 100
MAX_USER_DURATION = (600, 432_000)
DISCONNECT_TIMEOUT = (60, 36_000)
IDLE_DISCONNECT_TIMEOUT = (60, 36_000)  # or 0: never
LARGEST_FLEET = 10_000  # no installation runs more; a larger number is a slip of the hand
# What may change while instances run; everything else would make some of them differ from the fleet's record.
CHANGEABLE_WHILE_RUNNING = frozenset(
    {"DisplayName", "ComputeCapacity", "Image", "DisconnectTimeoutInSeconds", "IdleDisconnectTimeoutInSeconds"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFleet:
    """What CreateFleet says; None takes the default."""

    name: str
    instance_type: str
    desired_instances: int
    image_name: str | None = None
    image_arn: str | None = None
    fleet_type: FleetType | None = None
    stream_view: StreamView | None = None
    platform: str | None = None
    max_user_duration_in_seconds: int | None = None
    disconnect_timeout_in_seconds: int | None = None
    idle_disconnect_timeout_in_seconds: int | None = None
    display_name: str | None = None
    description: str | None = None
    enable_default_internet_access: bool | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChange:
    """What UpdateFleet says; None leaves as it is."""

    instance_type: str | None = None
    desired_instances: int | None = None
    image_name: str | None = None
    image_arn: str | None = None
    stream_view: StreamView | None = None
    platform: str | None = None
    max_user_duration_in_seconds: int | None = None
    disconnect_timeout_in_seconds: int | None = None
    idle_disconnect_timeout_in_seconds: int | None = None
    display_name: str | None = None
    description: str | None = None
    enable_default_internet_access: bool | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """Instances of a fleet: asked for, powered on, held by users, and free for the next user."""

    desired: int
    running: int
    in_use: int
    available: int


@dataclass(frozen=True, slots=True)
class DescribedFleet:
    fleet: Fleet
    capacity: Capacity


def capacity_of(fleet: Fleet, counts: Mapping[InstanceState, int]) -> Capacity:
    """Return what a fleet has. An ON_DEMAND fleet offers its unassigned instances although none of them is powered on."""
    ready, in_use = counts.get(InstanceState.READY, 0), counts.get(InstanceState.IN_USE, 0)
    available = ready
    if fleet.fleet_type is FleetType.ON_DEMAND:
        available = max(fleet.desired_instances - in_use, 0) if fleet.state is FleetState.RUNNING else 0
    return Capacity(desired=fleet.desired_instances, running=ready + in_use, in_use=in_use, available=available)


class FleetService:
    def __init__(self, transactions: Transactions, clock: Clock, wake: Wake, tokens: PageTokens) -> None:
        self._transactions, self._clock, self._wake, self._tokens = transactions, clock, wake, tokens

    async def create(self, scope: Scope, wanted: NewFleet) -> DescribedFleet:
        """Make a STOPPED fleet. Raises AlreadyExists, NotFound (image), NotAvailable (image), IncompatibleImage,
        InvalidCombination, NotSupported (instance type).
        """
        _check_numbers(wanted)
        async with self._transactions.begin(write=True) as work:
            image = await _image(work, scope, wanted.image_name, wanted.image_arn)
            _check_image(image, wanted.instance_type, wanted.platform)
            fleet = await work.fleets.add(self._new(scope, wanted, image))
            await work.tags.put(fleet.arn, wanted.tags or {})
            await work.commit()
        return DescribedFleet(fleet, capacity_of(fleet, {}))

    async def describe(
        self, scope: Scope, *, names: Sequence[str] = (), next_token: str | None = None
    ) -> tuple[tuple[DescribedFleet, ...], str | None]:
        """Return one page of fleets by name and the token of the next. Raises NotFound for a missing name, InvalidPageToken."""
        after = self._tokens.read(scope, ["fleets"], next_token)
        async with self._transactions.begin() as work:
            page, has_more = await _page(work, scope, names, after)
            counts = await work.instances.count_by_state([fleet.fleet_id for fleet in page])
        described = tuple(DescribedFleet(fleet, capacity_of(fleet, counts.get(fleet.fleet_id, {}))) for fleet in page)
        return described, self._tokens.issue(scope, ["fleets"], page[-1].name) if has_more else None

    async def update(self, scope: Scope, name: str, change: FleetChange) -> DescribedFleet:
        """Change a fleet. Raises NotFound, InUse (the state forbids it), and what `create` raises for the new values."""
        _check_numbers(change)
        async with self._transactions.begin(write=True) as work:
            before = await work.fleets.get(scope, name)
            after = await _changed(work, before, change)
            _check_state(before, _differences(before, after))
            after = await work.fleets.save(after)
            counts = await work.instances.count_by_state([after.fleet_id])
            await work.commit()
        self._wake("fleet", after.fleet_id)
        return DescribedFleet(after, capacity_of(after, counts.get(after.fleet_id, {})))

    async def start(self, scope: Scope, name: str) -> None:
        """Wish the fleet RUNNING; it is STARTING when this returns. A fleet on its way there already is success.

        Raises NotFound, NotPermitted (STOPPING).
        """
        async with self._transactions.begin(write=True) as work:
            fleet = await work.fleets.get(scope, name)
            if fleet.is_provisioned:
                return
            if not FLEET.allows(fleet.state, FleetEvent.START_REQUESTED):
                raise NotPermitted(f"The fleet {name} is {fleet.state}. Wait until it is STOPPED, then start it.")
            started = replace(fleet.after(FleetEvent.START_REQUESTED), errors=(), launch_failures=0, retry_at=None)
            await work.fleets.save(started)
            await work.commit()
        self._wake("fleet", fleet.fleet_id)

    async def stop(self, scope: Scope, name: str) -> None:
        """Wish the fleet STOPPED; it is STOPPING when this returns. Stopped or stopping already is success. Raises NotFound."""
        async with self._transactions.begin(write=True) as work:
            fleet = await work.fleets.get(scope, name)
            if not fleet.is_provisioned:
                return
            await work.fleets.save(replace(fleet.after(FleetEvent.STOP_REQUESTED), retry_at=None))
            await work.commit()
        self._wake("fleet", fleet.fleet_id)

    async def delete(self, scope: Scope, name: str) -> None:
        """Forget a STOPPED fleet and its tags. Raises NotFound, InUse (associated, or not STOPPED)."""
        async with self._transactions.begin(write=True) as work:
            fleet = await work.fleets.get(scope, name)
            if await work.associations.stacks_of(scope, name, limit=1):
                raise InUse(
                    "fleet",
                    name,
                    f"The fleet {name} is associated with a stack. To delete the fleet, you must dissociate it from "
                    "the stack.",
                )
            if fleet.state is not FleetState.STOPPED:
                raise InUse("fleet", name, f"The fleet {name} is {fleet.state}. Stop it before deleting it.")
            await work.fleets.remove(fleet)
            await work.tags.drop(fleet.arn)
            await work.commit()

    def _new(self, scope: Scope, wanted: NewFleet, image: Image) -> Fleet:
        return Fleet(
            fleet_id=uuid4().hex,
            scope=scope,
            name=wanted.name,
            fleet_type=wanted.fleet_type or FleetType.ALWAYS_ON,
            stream_view=wanted.stream_view or StreamView.APP,
            image_name=image.name,
            image_arn=image.arn_in(scope.region),
            instance_type=wanted.instance_type,
            platform=image.platform,
            desired_instances=wanted.desired_instances,
            max_user_duration=_or_default(wanted.max_user_duration_in_seconds, 57_600),
            disconnect_timeout=_or_default(wanted.disconnect_timeout_in_seconds, 900),
            idle_disconnect_timeout=_or_default(wanted.idle_disconnect_timeout_in_seconds, 0),
            display_name=wanted.display_name,
            description=wanted.description,
            enable_default_internet_access=bool(wanted.enable_default_internet_access),
            created_at=self._clock.now(),
        )


async def _page(work: UnitOfWork, scope: Scope, names: Sequence[str], after: str) -> tuple[Sequence[Fleet], bool]:
    if names:
        return await all_named("fleet", names, lambda some: work.fleets.page(scope, names=some, limit=len(some))), False
    return cut(await work.fleets.page(scope, after=after, limit=PAGE_SIZE + 1), PAGE_SIZE)


def _or_default(seconds: int | None, default: int) -> timedelta:
    return timedelta(seconds=default if seconds is None else seconds)


def _check_numbers(asked: NewFleet | FleetChange) -> None:
    """Hold the documented ranges, which the service model does not declare. Raises InvalidCombination."""
    _check_range("MaxUserDurationInSeconds", asked.max_user_duration_in_seconds, MAX_USER_DURATION)
    _check_range("DisconnectTimeoutInSeconds", asked.disconnect_timeout_in_seconds, DISCONNECT_TIMEOUT)
    if asked.idle_disconnect_timeout_in_seconds != 0:
        _check_range(
            "IdleDisconnectTimeoutInSeconds",
            asked.idle_disconnect_timeout_in_seconds,
            IDLE_DISCONNECT_TIMEOUT,
            "0, or ",
        )
    _check_range("DesiredInstances", asked.desired_instances, (0, LARGEST_FLEET))


def _check_range(member: str, value: int | None, bounds: tuple[int, int], also: str = "") -> None:
    lowest, highest = bounds
    if value is not None and not lowest <= value <= highest:
        raise InvalidCombination(f"{member} is {value}; it must be {also}between {lowest} and {highest}.")


async def _image(work: UnitOfWork, scope: Scope, name: str | None, arn: str | None) -> Image:
    """Return the image that a request names. Raises InvalidCombination, NotFound, NotAvailable."""
    if not name and not arn:
        raise InvalidCombination("Name the image: give ImageName or ImageArn.")
    image = await work.images.find(scope, name=name or "", arn=arn or "")
    if image is None:
        if name and arn and await work.images.find(scope, arn=arn) is not None:
            raise InvalidCombination(f"ImageName {name} and ImageArn {arn} are two images. Give one of them.")
        raise NotFound("image", arn or name or "")
    if image.state is not ImageState.AVAILABLE:
        raise NotAvailable(
            "image",
            image.name,
            f"The image {image.name} is {image.state}. Wait until it is AVAILABLE, or take another.",
        )
    return image


def _check_image(image: Image, instance_type: str, platform: str | None) -> None:
    family = size_of(instance_type).family
    if family not in image.supported_instance_families:
        known = ", ".join(image.supported_instance_families)
        raise IncompatibleImage(
            f"The image {image.name} runs on {known}, and {instance_type} is {family}. Choose another instance type."
        )
    if platform is not None and platform != image.platform:
        raise InvalidCombination(
            f"The platform of the image {image.name} is {image.platform}, not {platform}. Leave Platform out."
        )


async def _changed(work: UnitOfWork, fleet: Fleet, change: FleetChange) -> Fleet:
    """Return the fleet as the change wants it. Raises what the new image or instance type is refused with."""
    instance_type = change.instance_type or fleet.instance_type
    if change.image_name or change.image_arn:
        image = await _image(work, fleet.scope, change.image_name, change.image_arn)
        _check_image(image, instance_type, change.platform)
        if fleet.state is not FleetState.STOPPED and image.platform != fleet.platform:
            raise IncompatibleImage(
                f"The image {image.name} has another operating system than the fleet {fleet.name}. Stop the fleet first."
            )
        fleet = replace(
            fleet, image_name=image.name, image_arn=image.arn_in(fleet.scope.region), platform=image.platform
        )
    elif change.instance_type is not None or change.platform is not None:
        found = await work.images.find(fleet.scope, arn=fleet.image_arn)
        if found is None:
            raise NotFound("image", fleet.image_name)
        _check_image(found, instance_type, change.platform)
    return replace(fleet, instance_type=instance_type, **_plain_changes(fleet, change))


def _plain_changes(fleet: Fleet, change: FleetChange) -> dict[str, Any]:
    """Return the attributes that a change sets as they are given."""
    durations = {
        "max_user_duration": change.max_user_duration_in_seconds,
        "disconnect_timeout": change.disconnect_timeout_in_seconds,
        "idle_disconnect_timeout": change.idle_disconnect_timeout_in_seconds,
    }
    plain: dict[str, Any] = {
        name: timedelta(seconds=seconds) for name, seconds in durations.items() if seconds is not None
    }
    for name in ("desired_instances", "stream_view", "display_name", "description", "enable_default_internet_access"):
        value = getattr(change, name)
        plain[name] = getattr(fleet, name) if value is None else value
    return plain


def _differences(before: Fleet, after: Fleet) -> set[str]:
    """Return which members, in the API's words, really change."""
    members = {
        "DisplayName": "display_name",
        "ComputeCapacity": "desired_instances",
        "Image": "image_arn",
        "DisconnectTimeoutInSeconds": "disconnect_timeout",
        "IdleDisconnectTimeoutInSeconds": "idle_disconnect_timeout",
        "MaxUserDurationInSeconds": "max_user_duration",
        "InstanceType": "instance_type",
        "StreamView": "stream_view",
        "Description": "description",
        "EnableDefaultInternetAccess": "enable_default_internet_access",
    }
    return {member for member, name in members.items() if getattr(before, name) != getattr(after, name)}


def _check_state(fleet: Fleet, differences: set[str]) -> None:
    """Raise InUse when the fleet's state does not allow the change."""
    if fleet.state in (FleetState.STARTING, FleetState.STOPPING):
        raise InUse(
            "fleet", fleet.name, f"The fleet {fleet.name} is {fleet.state}. Wait until that is over, then update it."
        )
    forbidden = differences - CHANGEABLE_WHILE_RUNNING
    if fleet.state is FleetState.RUNNING and forbidden:
        raise InUse(
            "fleet",
            fleet.name,
            f"The fleet {fleet.name} is RUNNING. Stop it before changing {', '.join(sorted(forbidden))}.",
        )
