"""Images: what fleets can be made from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from fanlight.domain.errors import InUse, InvalidCombination, NotFound, NotPermitted
from fanlight.domain.images import IMAGE, LATEST, Image, ImageEvent, ImagePermission, ImageState, Visibility
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions, UnitOfWork, Wake
from fanlight.services.agent_versions import AgentVersions
from fanlight.services.image_catalogues import ImageManifest
from fanlight.services.page_tokens import PageTokens, cut

LARGEST_PAGE = 25
PUBLIC = Scope("", "")  # where public images live: no account, every region


@dataclass(frozen=True, slots=True)
class DescribedImage:
    """An image as one account sees it. `permission` is what its owner allows to this account, None for own and public."""

    image: Image
    permission: ImagePermission | None = None
    is_shared_with_others: bool = False

    @property
    def visibility(self) -> Visibility:
        return self.image.visibility if self.permission is None else Visibility.SHARED


class ImageService:
    def __init__(
        self,
        transactions: Transactions,
        wake: Wake,
        tokens: PageTokens,
        agents: AgentVersions,
    ) -> None:
        self._transactions, self._wake, self._tokens = transactions, wake, tokens
        self._agents = agents

    def has_latest_agent(self, image: Image) -> bool:
        """Return whether instances of the image get the newest agent."""
        return image.agent_version == LATEST or self._agents.is_newest(image.agent_version)

    async def describe(
        self,
        scope: Scope,
        *,
        names: Sequence[str] = (),
        arns: Sequence[str] = (),
        visibility: Visibility | None = None,
        limit: int | None = None,
        next_token: str | None = None,
    ) -> tuple[tuple[DescribedImage, ...], str | None]:
        """Return one page of the images that this scope may see, by name, and the token of the next.

        Names are those of own and public images: what others share is found by ARN, by type, or by asking for all.

        Raises NotFound for a name or ARN that is not among them, InvalidCombination (names together with ARNs),
        InvalidPageToken.
        """
        if names and arns:
            raise InvalidCombination("Names and Arns exclude each other. Give one of them.")
        asked = ["images", "names", *names, "arns", *arns, "type", visibility or ""]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            found = await _seen_by(work, scope)
        found = _chosen(scope, [one for one in found if not names or one.permission is None], names, arns)
        if visibility is not None:
            found = [one for one in found if one.visibility is visibility]
        page, has_more = cut([one for one in found if _place(one.image) > after], limit or LARGEST_PAGE)
        return tuple(page), self._tokens.issue(scope, asked, _place(page[-1].image)) if has_more else None

    async def delete(self, scope: Scope, name: str) -> DescribedImage:
        """Wish an own image gone; return it as it was.

        Raises NotFound, NotPermitted (public), InUse (being made, shared, or somebody uses it).
        """
        async with self._transactions.begin(write=True) as work:
            image = await work.images.find(scope, name=name)
            if image is None:
                raise NotFound("image", name)
            if image.visibility is Visibility.PUBLIC:
                raise NotPermitted(f"The image {name} is public. It comes and goes with this installation's recipes.")
            if why := await _why_kept(work, image):
                raise InUse("image", name, why)
            await work.images.save(replace(image.after(ImageEvent.DELETE_REQUESTED), task=None))
            await work.commit()
        self._wake("image", image.image_id)
        return DescribedImage(image)

    async def arn_of(self, scope: Scope, name: str) -> str:
        """Return the ARN of the image that a name means in this scope; that of an own image when there is none."""
        async with self._transactions.begin() as work:
            image = await work.images.find(scope, name=name)
        return scope.arn(f"image/{name}") if image is None else image.arn_in(scope.region)

    async def sync_public_images(self, manifests: Sequence[ImageManifest]) -> None:
        """Make each manifest a PUBLIC image: new ones are added, changed ones updated. Others stay as they are.

        Cheap when nothing is new, so that it may be called every few seconds.
        """
        async with self._transactions.begin() as work:
            if not _differing(manifests, await work.images.visible(PUBLIC)):
                return
        async with self._transactions.begin(write=True) as work:
            for wanted, is_new in _differing(manifests, await work.images.visible(PUBLIC)):
                await (work.images.add(wanted) if is_new else work.images.save(wanted))
            await work.commit()


async def _seen_by(work: UnitOfWork, scope: Scope) -> Sequence[DescribedImage]:
    shared_by_us = await work.image_permissions.shared_ids(scope)
    own_and_public = [
        DescribedImage(image, is_shared_with_others=image.image_id in shared_by_us)
        for image in await work.images.visible(scope)
    ]
    shared_with_us = await work.image_permissions.shared_with(scope)
    return [*own_and_public, *(DescribedImage(image, permission) for image, permission in shared_with_us)]


async def _why_kept(work: UnitOfWork, image: Image) -> str | None:
    """Return why it cannot be deleted now, as a sentence with what to do."""
    if not IMAGE.allows(image.state, ImageEvent.DELETE_REQUESTED):
        then = "It is gone soon." if image.state is ImageState.DELETING else "Wait until that is over."
        return f"The image {image.name} is {image.state}. {then}"
    if shared := await work.image_permissions.of_image(image.image_id):
        return (
            f"The image {image.name} is shared with {len(shared)} account(s), {shared[0].shared_account_id} among them. "
            "Delete its permissions first."
        )
    arn = image.arn_in(image.scope.region)
    for fleet in await work.fleets.everywhere():
        if fleet.image_arn == arn:
            return f"The image {image.name} is used by the fleet {fleet.name}. Update or delete the fleet first."
    for builder in await work.image_builders.everywhere():
        if builder.image_arn == arn:
            return f"The image {image.name} is used by the image builder {builder.name}. Delete the builder first."
    for other in await work.images.everywhere():
        if other.is_unfinished and getattr(other.task, "source_image_id", None) == image.image_id:
            return f"The image {image.name} is what the image {other.name} is being made from. Wait until that is over."
    return None


def _differing(manifests: Sequence[ImageManifest], present: Sequence[Image]) -> list[tuple[Image, bool]]:
    """Return the images that have to be written, and for each whether it is new."""
    by_name = {image.name: image for image in present}
    pairs = [(manifest, by_name.get(manifest.name)) for manifest in manifests]
    wanted = [(_image_of(manifest, before), before) for manifest, before in pairs]
    return [(image, before is None) for image, before in wanted if image != before]


def _place(image: Image) -> str:
    """Return where an image stands in listings; no name contains a slash, so an own and a public namesake differ."""
    return f"{image.name}/{image.scope.account_id or '~'}"


def _chosen(
    scope: Scope, found: Sequence[DescribedImage], names: Sequence[str], arns: Sequence[str]
) -> Sequence[DescribedImage]:
    """Return the images that are asked for, in their places. Raises NotFound for the first that is missing."""
    present_names = {one.image.name for one in found}
    present_arns = {one.image.arn_in(scope.region) for one in found}
    for asked, present in ((names, present_names), (arns, present_arns)):
        for one in asked:
            if one not in present:
                raise NotFound("image", one)
    wanted_names, wanted_arns = set(names) or present_names, set(arns) or present_arns
    chosen = (one for one in found if one.image.name in wanted_names and one.image.arn_in(scope.region) in wanted_arns)
    return sorted(chosen, key=lambda one: _place(one.image))


def _image_of(manifest: ImageManifest, before: Image | None) -> Image:
    image = before or Image(
        image_id=uuid4().hex, scope=PUBLIC, name=manifest.name, store_ref="", created_at=manifest.created_at
    )
    return replace(
        image,
        store_ref=manifest.store_ref,
        state=ImageState.AVAILABLE,
        visibility=Visibility.PUBLIC,
        display_name=manifest.display_name,
        description=manifest.description,
        applications=manifest.applications,
        base_image_arn=PUBLIC.arn(f"image/{manifest.base_image_name}") if manifest.base_image_name else None,
        agent_version=manifest.agent_version,
        image_builder_supported=True,
        created_at=manifest.created_at,
        public_base_image_released_at=manifest.created_at,
    )
