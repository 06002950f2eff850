"""All services of the AppStream API in one object, built once by `bootstrap`."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Self

from fanlight import __version__
from fanlight.domain.machine_images import ArchivePlaces
from fanlight.domain.nimble.eulas import Eula
from fanlight.domain.objects import ObjectStore
from fanlight.domain.ports import Clock, Transactions, Wake
from fanlight.domain.quotas import NO_QUOTAS, Quotas
from fanlight.domain.user_storage import StorageKind
from fanlight.services.access_keys import AccessKeyService
from fanlight.services.agent_versions import AgentVersions
from fanlight.services.alarms import AlarmService
from fanlight.services.associations import AssociationService
from fanlight.services.fleets import FleetService
from fanlight.services.icon_urls import IconUrls
from fanlight.services.image_builders import ImageBuilderService
from fanlight.services.image_copies import ImageCopyService
from fanlight.services.image_exports import ImageExportService
from fanlight.services.image_files import ImageFiles
from fanlight.services.image_imports import ImageImportService
from fanlight.services.image_requests import ImageRequestService
from fanlight.services.image_sharing import ImageSharingService
from fanlight.services.image_updates import ImageUpdateService
from fanlight.services.image_workshop import ImageWorkshop
from fanlight.services.images import ImageService
from fanlight.services.machine_images import MachineImageService
from fanlight.services.metrics import MetricService
from fanlight.services.nimble import NimbleServices
from fanlight.services.page_tokens import PageTokens
from fanlight.services.quotas import QuotaKeeper
from fanlight.services.scalable_targets import ScalableTargetService
from fanlight.services.scaling_policies import ScalingPolicyService
from fanlight.services.scheduled_actions import ScheduledActionService
from fanlight.services.session_instances import SessionInstanceService
from fanlight.services.stacks import StackService
from fanlight.services.streaming_sessions import StreamingSessionService
from fanlight.services.streaming_urls import StreamingUrls
from fanlight.services.tags import TagService


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStreamServices:
    fleets: FleetService
    stacks: StackService
    associations: AssociationService
    sessions: StreamingSessionService
    session_instances: SessionInstanceService
    images: ImageService
    icons: IconUrls
    image_sharing: ImageSharingService
    image_requests: ImageRequestService
    image_builders: ImageBuilderService
    image_copies: ImageCopyService
    image_updates: ImageUpdateService
    machine_images: MachineImageService
    image_imports: ImageImportService
    image_exports: ImageExportService
    tags: TagService
    access_keys: AccessKeyService
    scalable_targets: ScalableTargetService
    scaling_policies: ScalingPolicyService
    scheduled_actions: ScheduledActionService
    metrics: MetricService
    alarms: AlarmService
    nimble: NimbleServices
    regions: tuple[str, ...]

    @classmethod
    def build(
        cls,
        *,
        transactions: Transactions,
        clock: Clock,
        wake: Wake,
        signing_key: bytes,
        image_files: ImageFiles,
        portal_url: str | Callable[[], str],
        regions: tuple[str, ...] = ("us-east-1",),
        sizes_root_volumes: Callable[[], Awaitable[bool]] | None = None,
        known_endpoints: Collection[str] = (),
        quotas: Quotas = NO_QUOTAS,
        agent_versions: AgentVersions | None = None,
        workshop: ImageWorkshop | None = None,
        objects: ObjectStore | None = None,
        image_archives: str = "fanlight-images/{account}/",
        eulas: Collection[Eula] = (),
        drives: Collection[StorageKind] = (),
    ) -> Self:
        """Wire the services to one store.

        `signing_key` (DATA_DIR/state/signing.key) signs streaming URLs and page tokens; `portal_url` is the portal's
        origin without a trailing slash, or a function that returns it (for a port chosen when the portal starts).
        `sizes_root_volumes` is asked when a fleet names a size, and may raise DriverUnavailable; None: it can.
        `drives` are the kinds that stacks may have. `known_endpoints` are the ids of interface endpoints that stacks may name. `agent_versions` are those of the
        engine's runtime; None: it has none of its own. `workshop` has the engine for the updates of images; None: no
        image can be looked at.
        `objects` is the S3 endpoint, None: images are neither imported nor exported; `image_archives` is where in there
        accounts keep archives.
        """
        portal = portal_url if callable(portal_url) else lambda: portal_url
        tokens = PageTokens(signing_key)
        keeper = QuotaKeeper(quotas)
        urls = StreamingUrls(signing_key, portal)
        agents = agent_versions or AgentVersions.fixed(f"simulated-{__version__}")
        machine_images = MachineImageService(transactions, clock, ArchivePlaces(image_archives), objects)
        return cls(
            fleets=FleetService(transactions, clock, wake, tokens, sizes_root_volumes, quotas=keeper),
            stacks=StackService(transactions, clock, tokens, known_endpoints, keeper, wake=wake, drives=drives),
            associations=AssociationService(transactions, tokens),
            sessions=StreamingSessionService(transactions, clock, wake, urls, tokens),
            session_instances=SessionInstanceService(transactions, wake),
            images=ImageService(transactions, wake, tokens, agents),
            icons=IconUrls(signing_key, portal, clock, image_files),
            image_sharing=ImageSharingService(transactions, wake, tokens, keeper),
            image_requests=ImageRequestService(transactions, clock, wake, image_files, keeper),
            image_builders=ImageBuilderService(
                transactions,
                clock,
                wake,
                tokens,
                urls,
                agents=agents,
                sizes_root_volumes=sizes_root_volumes,
                known_endpoints=known_endpoints,
                quotas=keeper,
            ),
            image_copies=ImageCopyService(transactions, clock, wake, regions, keeper),
            image_updates=ImageUpdateService(
                transactions, clock, wake, workshop, files=image_files, newest_runtime=agents.newest, quotas=keeper
            ),
            machine_images=machine_images,
            image_imports=ImageImportService(
                transactions, clock, wake, machine_images, quotas=keeper, agent_version=agents.newest
            ),
            image_exports=ImageExportService(transactions, clock, wake, tokens, machine_images),
            tags=TagService(transactions, tokens),
            access_keys=AccessKeyService(transactions, clock),
            scalable_targets=ScalableTargetService(transactions, clock, tokens),
            scaling_policies=ScalingPolicyService(transactions, clock, tokens),
            scheduled_actions=ScheduledActionService(transactions, clock, tokens),
            metrics=MetricService(transactions, clock, tokens),
            alarms=AlarmService(transactions, clock, tokens),
            nimble=NimbleServices.build(
                transactions=transactions,
                clock=clock,
                wake=wake,
                tokens=tokens,
                portal=portal,
                quotas=keeper,
                urls=urls,
                agents=agents,
                eulas=eulas,
            ),
            regions=regions,
        )
