"""Image builders: what administrators may ask of them, and how an image begins to be made of one.

Handlers record a wish and wake the builder's reconciler; the state that clients poll changes in the same transaction.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from fanlight.domain.errors import InvalidCombination, NotAvailable, NotPermitted
from fanlight.domain.fleets import VpcConfig
from fanlight.domain.image_builders import IMAGE_BUILDER, ImageBuilder, ImageBuilderEvent, ImageBuilderState
from fanlight.domain.images import Image
from fanlight.domain.instances import new_instance_id
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.domain.streaming_sessions import BUILDER_USER, StreamingGrant, builder_reference
from fanlight.services.agent_versions import AgentVersions
from fanlight.services.fleet_changes import check_image
from fanlight.services.fleet_wishes import check_root_volume_size, check_vpc
from fanlight.services.names import all_named
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.quotas import QuotaKeeper
from fanlight.services.root_volumes import check_root_volume
from fanlight.services.stack_members import checked_endpoints
from fanlight.services.streaming_urls import StreamingUrls, checked_validity
from fanlight.services.usable_images import ImageUse, find_image

DEFAULT_VALIDITY_IN_SECONDS = 3600
PAGE_SIZE = LARGEST_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImageBuilder:
    """What CreateImageBuilder says; None means absent, and gets the documented default."""

    name: str
    instance_type: str
    image_name: str | None = None
    image_arn: str | None = None
    display_name: str | None = None
    description: str | None = None
    vpc_config: VpcConfig | None = None
    enable_default_internet_access: bool | None = None
    agent_version: str | None = None
    access_endpoints: tuple[str | None, ...] | None = None
    root_volume_in_gib: int | None = None
    disable_imdsv1: bool | None = None
    tags: Mapping[str, str] | None = None


class ImageBuilderService:
    """`sizes_root_volumes` as for fleets; `known_endpoints` are the interface endpoints that may be named."""

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        wake: Wake,
        tokens: PageTokens,
        urls: StreamingUrls,
        *,
        agents: AgentVersions,
        sizes_root_volumes: Callable[[], Awaitable[bool]] | None = None,
        known_endpoints: Collection[str] = (),
        quotas: QuotaKeeper | None = None,
    ) -> None:
        self._transactions, self._clock, self._wake = transactions, clock, wake
        self._tokens, self._urls, self._agents = tokens, urls, agents
        self._sizes_root_volumes, self._known_endpoints = sizes_root_volumes, known_endpoints
        self._quotas = quotas or QuotaKeeper()

    def is_latest(self, builder: ImageBuilder) -> bool:
        """Return whether the builder has the newest agent."""
        return self._agents.is_newest(builder.agent_version)

    async def create(self, scope: Scope, wanted: NewImageBuilder) -> ImageBuilder:
        """Make an image builder, which starts by itself: it is PENDING when this returns.

        Raises AlreadyExists, NotFound (image), NotAvailable (image, agent version), IncompatibleImage,
        InvalidCombination, LimitExceeded, NotPermitted (an image that makes no builders), NotSupported (instance type,
        root volume, endpoint), DriverUnavailable (root volume).
        """
        check_root_volume_size(wanted.root_volume_in_gib)
        await check_root_volume(wanted.root_volume_in_gib, self._sizes_root_volumes)
        _check_network(wanted.vpc_config)
        endpoints = checked_endpoints(wanted.access_endpoints, self._known_endpoints) or ()
        agent_version = self._agents.resolve(wanted.agent_version)
        async with self._transactions.begin(write=True) as work:
            image = await find_image(work, scope, wanted.image_name, wanted.image_arn, ImageUse.IMAGE_BUILDER)
            _check_makes_builders(image)
            check_image(image, wanted.instance_type, None)
            builder = await work.image_builders.add(self._new(scope, wanted, image, agent_version, endpoints))
            await self._quotas.admit_image_builder(work, builder)
            await work.tags.put(builder.arn, wanted.tags or {})
            await work.commit()
        self._wake("image_builder", builder.builder_id)
        return builder

    async def describe(
        self, scope: Scope, *, names: Sequence[str] = (), limit: int | None = None, next_token: str | None = None
    ) -> tuple[tuple[ImageBuilder, ...], str | None]:
        """Return one page of image builders by name and the token of the next.

        The model bounds MaxResults nowhere and the operation has no error for it: what is outside 1 to 50 means 50.
        Raises NotFound for a missing name, InvalidPageToken.
        """
        size = limit if limit is not None and 1 <= limit <= LARGEST_PAGE else PAGE_SIZE
        after = self._tokens.read(scope, ["image builders"], next_token)
        async with self._transactions.begin() as work:
            if names:
                found = await all_named(
                    "image builder", names, lambda some: work.image_builders.page(scope, names=some, limit=len(some))
                )
                return tuple(found), None
            page, has_more = cut(await work.image_builders.page(scope, after=after, limit=size + 1), size)
        return tuple(page), self._tokens.issue(scope, ["image builders"], page[-1].name) if has_more else None

    async def start(self, scope: Scope, name: str, agent_version: str | None = None) -> ImageBuilder:
        """Wish a STOPPED builder RUNNING; it is PENDING when this returns, UPDATING_AGENT if it gets another agent.

        Without an agent version it keeps the one that it has. Raises NotFound, NotAvailable (its state, agent version).
        """
        wanted = self._agents.resolve(agent_version) if agent_version is not None else None
        async with self._transactions.begin(write=True) as work:
            builder = await work.image_builders.get(scope, name)
            if not IMAGE_BUILDER.allows(builder.state, ImageBuilderEvent.START_REQUESTED):
                why = f"The image builder {name} is {builder.state}. Only one that is STOPPED can be started."
                raise NotAvailable("image builder", name, why)
            is_changed = wanted is not None and wanted != builder.agent_version
            event = ImageBuilderEvent.OTHER_AGENT_REQUESTED if is_changed else ImageBuilderEvent.START_REQUESTED
            started = builder.starting(event, self._clock.now(), wanted or builder.agent_version)
            started = await work.image_builders.save(started)
            await work.commit()
        self._wake("image_builder", builder.builder_id)
        return started

    async def stop(self, scope: Scope, name: str) -> ImageBuilder:
        """Wish a RUNNING builder STOPPED; it is STOPPING when this returns. Raises NotFound, NotPermitted (its state)."""
        return await self._ask(
            scope, name, ImageBuilderEvent.STOP_REQUESTED, "Only one that is RUNNING can be stopped."
        )

    async def delete(self, scope: Scope, name: str) -> ImageBuilder:
        """Wish a builder gone, with its disk; it is DELETING when this returns. Raises NotFound, NotPermitted (its state)."""
        how = "Only one that is RUNNING, STOPPED or FAILED can be deleted: wait until it is."
        return await self._ask(scope, name, ImageBuilderEvent.DELETE_REQUESTED, how)

    async def update(
        self, scope: Scope, name: str, *, display_name: str | None = None, description: str | None = None
    ) -> ImageBuilder:
        """Change the texts of a builder; None leaves as it is. Raises NotFound, NotPermitted (it is DELETING)."""
        async with self._transactions.begin(write=True) as work:
            builder = await work.image_builders.get(scope, name)
            if builder.state is ImageBuilderState.DELETING:
                raise NotPermitted(f"The image builder {name} is being deleted. It cannot be changed any more.")
            changed = replace(
                builder,
                display_name=builder.display_name if display_name is None else display_name,
                description=builder.description if description is None else description,
            )
            if changed != builder:
                changed = await work.image_builders.save(changed)
                await work.commit()
        return changed

    async def create_url(self, scope: Scope, name: str, validity_in_seconds: int | None = None) -> tuple[str, datetime]:
        """Return the URL of the builder's desktop and when it expires. Nothing is stored.

        Raises NotFound, NotPermitted (not RUNNING), InvalidCombination (validity).
        """
        lasting = checked_validity(validity_in_seconds, DEFAULT_VALIDITY_IN_SECONDS)
        async with self._transactions.begin() as work:
            builder = await work.image_builders.get(scope, name)
        if builder.state is not ImageBuilderState.RUNNING:
            raise NotPermitted(
                f"The image builder {name} is {builder.state}. A streaming URL needs one that is RUNNING."
            )
        expires_at = self._clock.now().replace(microsecond=0) + lasting
        grant = StreamingGrant(
            scope=scope,
            stack_name=builder_reference(name),
            fleet_name=builder_reference(name),
            user_id=BUILDER_USER,
            application_id=None,
            session_context=None,
            expires_at=expires_at,
        )
        return self._urls.issue_for_desktop(grant), expires_at

    async def _ask(self, scope: Scope, name: str, event: ImageBuilderEvent, how: str) -> ImageBuilder:
        async with self._transactions.begin(write=True) as work:
            builder = await work.image_builders.get(scope, name)
            if not IMAGE_BUILDER.allows(builder.state, event):
                raise NotPermitted(f"The image builder {name} is {builder.state}. {how}")
            asked = await work.image_builders.save(builder.after(event, self._clock.now()))
            sessions = await work.sessions.live(builder.builder_id)
            await work.commit()
        self._wake("image_builder", builder.builder_id)
        for session in sessions:
            self._wake("session", session.session_id)
        return asked

    def _new(
        self, scope: Scope, wanted: NewImageBuilder, image: Image, agent_version: str, endpoints: tuple[str, ...]
    ) -> ImageBuilder:
        now = self._clock.now()
        return ImageBuilder(
            builder_id=uuid4().hex,
            scope=scope,
            name=wanted.name,
            image_name=image.name,
            image_arn=image.arn_in(scope.region),
            image_ref=image.store_ref,
            instance_id=new_instance_id(),
            instance_type=wanted.instance_type,
            platform=image.platform,
            agent_version=agent_version,
            display_name=wanted.display_name,
            description=wanted.description,
            vpc_config=wanted.vpc_config,
            enable_default_internet_access=bool(wanted.enable_default_internet_access),
            access_endpoints=endpoints,
            root_volume_in_gib=wanted.root_volume_in_gib,
            disable_imdsv1=wanted.disable_imdsv1,
            created_at=now,
            begun_at=now,
        )


async def begin_snapshot(work: UnitOfWork, builder_id: str, image_id: str, now: datetime) -> ImageBuilder:
    """Let a RUNNING builder be turned into the image that the same unit of work adds; wake both when it is committed.

    Its reconciler ends the session, lets the agent clean up (then `is_prepared` is set), stops the instance and wakes the
    image's. When the image is AVAILABLE or FAILED, the builder becomes STOPPED; also when it could not be cleaned up:
    then `snapshot_image_id` is not this image's any more, and no image may be made. Raises NotPermitted (it is not
    RUNNING, or gone).
    """
    builder = await work.image_builders.find(builder_id)
    if builder is None or not IMAGE_BUILDER.allows(builder.state, ImageBuilderEvent.SNAPSHOT_REQUESTED):
        state = builder.state if builder else "gone"
        raise NotPermitted(f"The image builder is {state}. An image can be made of one that is RUNNING.")
    snapshotting = builder.after(ImageBuilderEvent.SNAPSHOT_REQUESTED, now)
    return await work.image_builders.save(replace(snapshotting, snapshot_image_id=image_id, is_prepared=False))


def _check_makes_builders(image: Image) -> None:
    """Raises NotPermitted."""
    if not image.image_builder_supported:
        raise NotPermitted(
            f"The image {image.name} is not for image builders (ImageBuilderSupported is false). Choose another image."
        )


def _check_network(config: VpcConfig | None) -> None:
    """Raises InvalidCombination: an image builder has one network interface, in one subnet."""
    check_vpc(config)
    if config is not None and len(config.subnet_ids) > 1:
        raise InvalidCombination("VpcConfig names several subnets. An image builder takes one subnet.")
