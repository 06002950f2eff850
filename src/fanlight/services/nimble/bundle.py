"""All services of Nimble Studio in one object; a part of `AppStreamServices`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from fanlight.domain.nimble.memberships import Persona
from fanlight.domain.ports import Clock, Transactions, Wake
from fanlight.services.nimble.client_tokens import ClientTokens
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.launch_profiles import LaunchProfileService
from fanlight.services.nimble.members import MemberService, check_profile, check_studio
from fanlight.services.nimble.studio_components import StudioComponentService
from fanlight.services.nimble.studios import StudioService
from fanlight.services.nimble.tags import check_taggable
from fanlight.services.page_tokens import PageTokens
from fanlight.services.quotas import QuotaKeeper
from fanlight.services.resource_tags import ResourceTags


@dataclass(frozen=True, slots=True, kw_only=True)
class NimbleServices:
    studios: StudioService
    studio_members: MemberService
    components: StudioComponentService
    profiles: LaunchProfileService
    profile_members: MemberService
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
    ) -> Self:
        ground = Ground(
            transactions=transactions, clock=clock, wake=wake, tokens=tokens, client_tokens=ClientTokens(clock)
        )
        return cls(
            studios=StudioService(ground, portal),
            studio_members=MemberService(ground, Persona.ADMINISTRATOR, check_studio),
            components=StudioComponentService(ground, quotas),
            profiles=LaunchProfileService(ground, quotas),
            profile_members=MemberService(ground, Persona.USER, check_profile),
            tags=ResourceTags(transactions, check_taggable),
        )
