"""Images: what fleets can be made from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import quote
from uuid import uuid4

from fanlight.domain.errors import InvalidCombination, NotFound
from fanlight.domain.images import Application, Image, ImageState, Visibility
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions
from fanlight.services.image_catalogues import ImageManifest
from fanlight.services.page_tokens import PageTokens, cut

LARGEST_PAGE = 25
PUBLIC = Scope("", "")  # where public images live: no account, every region


class ImageService:
    def __init__(self, transactions: Transactions, clock: Clock, tokens: PageTokens, portal: Callable[[], str]) -> None:
        self._transactions, self._clock, self._tokens, self._portal = transactions, clock, tokens, portal

    async def describe(
        self,
        scope: Scope,
        *,
        names: Sequence[str] = (),
        arns: Sequence[str] = (),
        visibility: Visibility | None = None,
        limit: int | None = None,
        next_token: str | None = None,
    ) -> tuple[tuple[Image, ...], str | None]:
        """Return one page of the images that this scope may see, by name, and the token of the next.

        Raises NotFound for a name or ARN that is not among them, InvalidCombination (names together with ARNs),
        InvalidPageToken.
        """
        if names and arns:
            raise InvalidCombination("Names and Arns exclude each other. Give one of them.")
        asked = ["images", "names", *names, "arns", *arns, "type", visibility or ""]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            images: Sequence[Image] = await work.images.visible(scope)
        images = _chosen(scope, images, names, arns)
        if visibility is not None:
            images = [image for image in images if image.visibility is visibility]
        page, has_more = cut([image for image in images if _place(image) > after], limit or LARGEST_PAGE)
        return tuple(page), self._tokens.issue(scope, asked, _place(page[-1])) if has_more else None

    async def arn_of(self, scope: Scope, name: str) -> str:
        """Return the ARN of the image that a name means in this scope; that of an own image when there is none."""
        async with self._transactions.begin() as work:
            image = await work.images.find(scope, name=name)
        return scope.arn(f"image/{name}") if image is None else image.arn_in(scope.region)

    def icon_url(self, image: Image, application: Application) -> str | None:
        """Return where a browser finds the icon, None when the application has none."""
        if application.icon is None:
            return None
        return f"{self._portal()}/icons/{quote(image.store_ref)}/{quote(application.icon)}"

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


def _differing(manifests: Sequence[ImageManifest], present: Sequence[Image]) -> list[tuple[Image, bool]]:
    """Return the images that have to be written, and for each whether it is new."""
    by_name = {image.name: image for image in present}
    pairs = [(manifest, by_name.get(manifest.name)) for manifest in manifests]
    wanted = [(_image_of(manifest, before), before) for manifest, before in pairs]
    return [(image, before is None) for image, before in wanted if image != before]


def _place(image: Image) -> str:
    """Return where an image stands in listings; no name contains a slash, so an own and a public namesake differ."""
    return f"{image.name}/{image.scope.account_id or '~'}"


def _chosen(scope: Scope, images: Sequence[Image], names: Sequence[str], arns: Sequence[str]) -> Sequence[Image]:
    """Return the images that are asked for, in their places. Raises NotFound for the first that is missing."""
    present_names = {image.name for image in images}
    present_arns = {image.arn_in(scope.region) for image in images}
    for asked, present in ((names, present_names), (arns, present_arns)):
        for one in asked:
            if one not in present:
                raise NotFound("image", one)
    wanted_names, wanted_arns = set(names) or present_names, set(arns) or present_arns
    chosen = (image for image in images if image.name in wanted_names and image.arn_in(scope.region) in wanted_arns)
    return sorted(chosen, key=_place)


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
