"""All services of Nimble Studio in one object; a part of `AppStreamServices`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Self

from fanlight.domain.nimble.eulas import Eula
from fanlight.domain.nimble.memberships import Persona
from fanlight.domain.ports import Clock, Transactions, Wake
from fanlight.services.agent_versions import AgentVersions
from fanlight.services.nimble.client_tokens import ClientTokens
from fanlight.services.nimble.eulas import EulaService
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.launch_profiles import LaunchProfileService
from fanlight.services.nimble.members import MemberService, check_profile, check_studio
from fanlight.services.nimble.personas import PersonaService
from fanlight.services.nimble.session_backups import SessionBackupService
from fanlight.services.nimble.sessions import StudioSessionService
from fanlight.services.nimble.streaming_images import StreamingImageService
from fanlight.services.nimble.streams import StreamService
from fanlight.services.nimble.studio_components import StudioComponentService
from fanlight.services.nimble.studios import StudioService
from fanlight.services.nimble.tags import check_taggable
from fanlight.services.page_tokens import PageTokens
from fanlight.services.quotas import QuotaKeeper
from fanlight.services.resource_tags import ResourceTags
from fanlight.services.streaming_urls import StreamingUrls


@dataclass(frozen=True, slots=True, kw_only=True)
class NimbleServices:
    studios: StudioService
    studio_members: MemberService
    components: StudioComponentService
    profiles: LaunchProfileService
    profile_members: MemberService
    streaming_images: StreamingImageService
    sessions: StudioSessionService
    streams: StreamService
    session_backups: SessionBackupService
    eulas: EulaService
    personas: PersonaService
    tags: ResourceTags

    @classmethod
    def build(
        cls,
        *,
        transactions: Transactions,
        clock: Clock,
        wake: Wake,
        tokens: PageTokens,
        portal: Callable[[], str],
        quotas: QuotaKeeper,
        urls: StreamingUrls,
        agents: AgentVersions,
        eulas: Collection[Eula],
    ) -> Self:
        ground = Ground(
            transactions=transactions, clock=clock, wake=wake, tokens=tokens, client_tokens=ClientTokens(clock)
        )
        eula_service = EulaService(ground, eulas)
        return cls(
            studios=StudioService(ground, portal),
            studio_members=MemberService(ground, Persona.ADMINISTRATOR, check_studio),
            components=StudioComponentService(ground, quotas),
            profiles=LaunchProfileService(ground, eula_service, quotas),
            profile_members=MemberService(ground, Persona.USER, check_profile),
            streaming_images=StreamingImageService(ground, eula_service, quotas),
            sessions=StudioSessionService(ground, agents, eula_service, quotas),
            streams=StreamService(ground, urls),
            session_backups=SessionBackupService(ground),
            eulas=eula_service,
            personas=PersonaService(transactions),
            tags=ResourceTags(transactions, check_taggable),
        )
