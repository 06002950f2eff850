"""Licence agreements: which there are, which a studio accepted, and which an image comes with."""

from collections.abc import Collection, Sequence

from fanlight.domain.errors import InvalidCombination, NotFound
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.eulas import Eula, EulaAcceptance
from fanlight.domain.nimble.identifiers import new_id
from fanlight.domain.nimble.studios import Studio
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.resources import usable_studio
from fanlight.services.page_tokens import cut

PAGE_SIZE = 50


class EulaService:
    """`eulas` are those of this installation; they are the same for every account and region."""

    def __init__(self, ground: Ground, eulas: Collection[Eula]) -> None:
        self._ground = ground
        self._eulas = {eula.eula_id: eula for eula in sorted(eulas, key=lambda eula: eula.eula_id)}

    def required_by(self, image_name: str) -> tuple[str, ...]:
        """Return the ids of what must be accepted before sessions begin from the image of this name."""
        return tuple(eula.eula_id for eula in self._eulas.values() if image_name in eula.images)

    def get(self, eula_id: str) -> Eula:
        """Raises NotFound."""
        if eula_id not in self._eulas:
            raise NotFound("EULA", eula_id)
        return self._eulas[eula_id]

    def page(
        self, scope: Scope, eula_ids: Sequence[str] | None, next_token: str | None
    ) -> tuple[Sequence[Eula], str | None]:
        """Return one page of agreements, of those named if any are, and the next token. Raises InvalidPageToken."""
        asked = ["eulas", *sorted(eula_ids or ())]
        after = self._ground.tokens.read(scope, asked, next_token)
        wanted = [
            eula for eula_id, eula in self._eulas.items() if eula_id > after and (not eula_ids or eula_id in eula_ids)
        ]
        page, has_more = cut(wanted, PAGE_SIZE)
        return page, self._ground.tokens.issue(scope, asked, page[-1].eula_id) if has_more else None

    async def accept(self, call: Call, studio_id: str, eula_ids: Sequence[str] | None) -> Sequence[EulaAcceptance]:
        """Accept agreements for a studio; what is accepted already stays as it was.

        Raises NotFound (studio, EULA), NotAvailable, InvalidCombination (nothing is named), TokenReused.
        """
        if not eula_ids:
            raise InvalidCombination("eulaIds must name at least one EULA.")
        async with self._ground.transactions.begin(write=True) as work:
            await usable_studio(work, call.scope, studio_id)
            if await self._ground.client_tokens.recall(work, call):
                there = await work.nimble.acceptances.of_studio(call.scope, studio_id)
                return [one for one in there if one.eula_id in eula_ids]
            accepted = [
                await work.nimble.acceptances.add(
                    EulaAcceptance(
                        acceptance_id=new_id(),
                        scope=call.scope,
                        studio_id=studio_id,
                        eula_id=self.get(eula_id).eula_id,
                        accepted_at=self._ground.clock.now(),
                        accepted_by=call.caller,
                    )
                )
                for eula_id in dict.fromkeys(eula_ids)
            ]
            await self._ground.client_tokens.remember(work, call, studio_id)
            await work.commit()
        return accepted

    async def acceptances(
        self, scope: Scope, studio_id: str, eula_ids: Sequence[str] | None, next_token: str | None
    ) -> tuple[Sequence[EulaAcceptance], str | None]:
        """Return one page of what a studio accepted, and the next token. Raises NotFound (the studio), InvalidPageToken."""
        asked = ["acceptances", studio_id, *sorted(eula_ids or ())]
        after = self._ground.tokens.read(scope, asked, next_token)
        async with self._ground.transactions.begin() as work:
            await work.nimble.resources.get(Studio, scope, studio_id)
            found = await work.nimble.acceptances.of_studio(scope, studio_id)
        wanted = [one for one in found if one.eula_id > after and (not eula_ids or one.eula_id in eula_ids)]
        page, has_more = cut(wanted, PAGE_SIZE)
        return page, self._ground.tokens.issue(scope, asked, page[-1].eula_id) if has_more else None

    async def missing(
        self, work: UnitOfWork, scope: Scope, studio_id: str, eula_ids: Collection[str]
    ) -> tuple[str, ...]:
        """Return which of these agreements the studio has not accepted, those aside that there are no longer."""
        accepted = {one.eula_id for one in await work.nimble.acceptances.of_studio(scope, studio_id)}
        return tuple(one for one in eula_ids if one in self._eulas and one not in accepted)
