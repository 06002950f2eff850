"""Share images with other accounts of this installation, and take that back."""

from collections.abc import Sequence
from dataclasses import replace

from fanlight.domain.errors import InvalidCombination, NotAvailable, NotFound
from fanlight.domain.fleets import Fleet
from fanlight.domain.images import Image, ImagePermission, ImageState, Visibility
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions, UnitOfWork, Wake
from fanlight.domain.quotas import IMAGE_SHARING
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.quotas import QuotaKeeper

LARGEST_PAGE = 500
_ACCOUNT_ID_LENGTH = 12


class ImageSharingService:
    def __init__(
        self, transactions: Transactions, wake: Wake, tokens: PageTokens, quotas: QuotaKeeper | None = None
    ) -> None:
        self._transactions, self._wake, self._tokens = transactions, wake, tokens
        self._quotas = quotas or QuotaKeeper()

    async def update(
        self,
        scope: Scope,
        name: str,
        account_id: str,
        *,
        allow_fleet: bool | None = None,
        allow_image_builder: bool | None = None,
    ) -> None:
        """Set what another account may do; None leaves what it may, which is nothing at first. Nothing: not shared.

        Raises NotFound, NotAvailable (not AVAILABLE, or public), LimitExceeded, InvalidCombination (the account).
        """
        _check_account(scope, account_id)
        async with self._transactions.begin(write=True) as work:
            image = await _own_image(work, scope, name)
            if image.state is not ImageState.AVAILABLE:
                why = f"The image {name} is {image.state}. Only one that is AVAILABLE can be shared."
                raise NotAvailable("image", name, why)
            shared = {one.shared_account_id: one for one in await work.image_permissions.of_image(image.image_id)}
            before = shared.get(account_id) or ImagePermission(
                image_id=image.image_id, shared_account_id=account_id, allow_fleet=False, allow_image_builder=False
            )
            after = replace(
                before,
                allow_fleet=before.allow_fleet if allow_fleet is None else allow_fleet,
                allow_image_builder=before.allow_image_builder if allow_image_builder is None else allow_image_builder,
            )
            fleets = await _put(work, image, before, after)
            if account_id not in shared and (after.allow_fleet or after.allow_image_builder):
                self._quotas.admit(IMAGE_SHARING, len(shared) + 1)
            await work.commit()
        self._wake_all(fleets)

    async def delete(self, scope: Scope, name: str, account_id: str) -> None:
        """Take back all that another account may do. Raises NotFound (image, or it is not shared with it), NotAvailable."""
        async with self._transactions.begin(write=True) as work:
            image = await _own_image(work, scope, name)
            shared = {one.shared_account_id: one for one in await work.image_permissions.of_image(image.image_id)}
            if account_id not in shared:
                raise NotFound("permission of the image", f"{name} for account {account_id}")
            before = shared[account_id]
            fleets = await _put(work, image, before, replace(before, allow_fleet=False, allow_image_builder=False))
            await work.commit()
        self._wake_all(fleets)

    async def describe(
        self,
        scope: Scope,
        name: str,
        *,
        account_ids: Sequence[str] = (),
        limit: int | None = None,
        next_token: str | None = None,
    ) -> tuple[tuple[ImagePermission, ...], str | None]:
        """Return one page of the accounts that it is shared with, by id, and the token of the next; accounts that it is
        not shared with are left out.

        Raises NotFound, InvalidPageToken.
        """
        asked = ["image permissions", name, *account_ids]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            image = await work.images.find(scope, name=name)
            if image is None or image.visibility is Visibility.PUBLIC:
                raise NotFound("image", name)
            found = [
                permission
                for permission in await work.image_permissions.of_image(image.image_id)
                if permission.shared_account_id > after
                and (not account_ids or permission.shared_account_id in account_ids)
            ]
        page, has_more = cut(found, limit or LARGEST_PAGE)
        return tuple(page), self._tokens.issue(scope, asked, page[-1].shared_account_id) if has_more else None

    def _wake_all(self, fleets: Sequence[Fleet]) -> None:
        for fleet in fleets:
            self._wake("fleet", fleet.fleet_id)


async def _put(work: UnitOfWork, image: Image, before: ImagePermission, after: ImagePermission) -> Sequence[Fleet]:
    """Write it; return the fleets of the other account that it stops from growing."""
    if after.allow_fleet or after.allow_image_builder:
        await work.image_permissions.put(after)
    else:
        await work.image_permissions.drop(image.image_id, after.shared_account_id)
    return await _empty_fleets(work, image, after) if before.allow_fleet and not after.allow_fleet else ()


async def _empty_fleets(work: UnitOfWork, image: Image, permission: ImagePermission) -> Sequence[Fleet]:
    """Wish no instances any more for the fleets that lost their image. Their sessions go on to their end."""
    theirs = Scope(permission.shared_account_id, image.scope.region)
    arn = image.arn_in(image.scope.region)
    emptied = []
    for fleet in await work.fleets.everywhere():
        if fleet.scope == theirs and fleet.image_arn == arn and fleet.desired_instances:
            sessions = 0 if fleet.is_multi_session else None
            emptied.append(await work.fleets.save(replace(fleet, desired_instances=0, desired_sessions=sessions)))
    return emptied


async def _own_image(work: UnitOfWork, scope: Scope, name: str) -> Image:
    """Raises NotFound, NotAvailable (public)."""
    image = await work.images.find(scope, name=name)
    if image is None:
        raise NotFound("image", name)
    if image.visibility is Visibility.PUBLIC:
        raise NotAvailable("image", name, f"The image {name} is public: every account may use it already.")
    return image


def _check_account(scope: Scope, account_id: str) -> None:
    if len(account_id) != _ACCOUNT_ID_LENGTH or not (account_id.isascii() and account_id.isdigit()):
        raise InvalidCombination(f"SharedAccountId must have {_ACCOUNT_ID_LENGTH} digits, and {account_id} has not.")
    if account_id == scope.account_id:
        raise InvalidCombination("An image cannot be shared with the account that owns it.")
