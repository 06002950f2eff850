"""What administrators ask of their image builders with the Image Assistant: make an image of this instance.

Everything in a request is a guest's word and is checked anew here. Refusals have the words and exit codes that the
Image Assistant documents; those it has no words for are answered with 255 and our own.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from uuid import uuid4

from fanlight.domain.errors import DomainError, InvalidCombination, LimitExceeded, NotPermitted
from fanlight.domain.image_builders import ImageBuilder
from fanlight.domain.image_requests import FAILED, REFUSED, ImageAnswer, ImageRequest, RequestedApplication
from fanlight.domain.image_tasks import BuildTask
from fanlight.domain.images import LATEST, Application, Image, ImageState, made_ref
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.domain.quotas import PRIVATE_IMAGES
from fanlight.domain.tags import MOST_TAGS, check_tags
from fanlight.services.guest_pictures import NotAPicture, clean_icon
from fanlight.services.image_builders import begin_snapshot
from fanlight.services.image_files import ImageFiles
from fanlight.services.quotas import QuotaKeeper

MOST_APPLICATIONS = 50
LONGEST_NAME = 100
LONGEST_TEXT = 256
LONGEST_PATH = 4096
_IMAGE_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}")
_RESERVED = ("aws", "appstream", "amazon")


class Refusal(DomainError):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ImageRequestService:
    """ImageRequestHandler. One image for each request, however often it is repeated."""

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        wake: Wake,
        files: ImageFiles,
        quotas: QuotaKeeper | None = None,
    ) -> None:
        self._transactions, self._clock, self._wake, self._files = transactions, clock, wake, files
        self._quotas = quotas or QuotaKeeper()

    async def create_image_from_builder(self, request: ImageRequest) -> ImageAnswer:
        """Begin the image, or with `is_dry_run` say whether it could be begun. Raises StoreUnavailable, OSError."""
        try:
            _check(request)
            icons = await asyncio.to_thread(_icons_of, request)
            image_id = uuid4().hex
            async with self._transactions.begin(write=not request.is_dry_run) as work:
                builder = await _builder_of(work, request)
                image = _image_of(request, builder, image_id, self._clock)
                image = _like_its_base(image, await work.images.find(builder.scope, arn=builder.image_arn))
                if await self._is_made_already(work, image, request):
                    return ImageAnswer()
                self._quotas.admit(PRIVATE_IMAGES, await _count_of(work, image) + 1)
                if not request.is_dry_run:
                    await asyncio.to_thread(self._files.put_icons, image.store_ref, icons)
                    await self._add(work, image, builder, request)
        except Refusal as refusal:
            return ImageAnswer(status=refusal.status, message=str(refusal))
        except (InvalidCombination, LimitExceeded, NotPermitted) as error:
            return ImageAnswer(status=FAILED, message=str(error))
        if not request.is_dry_run:
            self._wake("image", image_id)
            self._wake("image_builder", builder.builder_id)
        return ImageAnswer()

    async def _is_made_already(self, work: UnitOfWork, image: Image, request: ImageRequest) -> bool:
        """Return whether this very request was heard before. Raises Refusal when the name is taken by another image."""
        there = next((one for one in await work.images.visible(image.scope) if one.name == image.name), None)
        if there is None:
            return False
        task = there.task
        if isinstance(task, BuildTask) and (task.instance_id, task.request_id) == (
            request.instance_id,
            request.request_id,
        ):
            return True
        raise Refusal(REFUSED, "An image with the given name already exists")

    async def _add(self, work: UnitOfWork, image: Image, builder: ImageBuilder, request: ImageRequest) -> None:
        """Raises NotPermitted (the builder is not RUNNING)."""
        added = await work.images.add(image)
        await begin_snapshot(work, builder.builder_id, added.image_id, self._clock.now())
        await work.tags.put(added.arn_in(added.scope.region), request.tags)
        await work.commit()


def _check(request: ImageRequest) -> None:
    """Raises Refusal, InvalidCombination."""
    if not _IMAGE_NAME.fullmatch(request.name) or request.name.lower().startswith(_RESERVED):
        raise Refusal(
            FAILED,
            f"The name must have 1 to {LONGEST_NAME} letters, digits, _, . and -, begin with a letter or digit, and not "
            f"begin with {', '.join(_RESERVED)}.",
        )
    for what, text in (("display name", request.display_name), ("description", request.description)):
        if len(text) > LONGEST_TEXT or not _is_plain(text):
            raise Refusal(FAILED, f"The {what} must have at most {LONGEST_TEXT} printable characters.")
    if request.has_dynamic_app_catalog:
        raise Refusal(FAILED, "Fanlight has no dynamic application catalogue. Leave --enable-dynamic-app-catalog out.")
    try:
        check_tags(request.tags)
    except InvalidCombination as error:
        raise Refusal(REFUSED, "Invalid value (tags)") from error
    if len(request.tags) > MOST_TAGS:
        raise Refusal(REFUSED, "Invalid value (tags)")
    if len(request.applications) > MOST_APPLICATIONS:
        raise Refusal(REFUSED, f"Unable to add more than {MOST_APPLICATIONS} apps to the catalog.")
    names = [application.name for application in request.applications]
    if len(set(names)) < len(names):
        raise Refusal(REFUSED, "Name is not unique")
    for application in request.applications:
        _check_application(application)


def _check_application(application: RequestedApplication) -> None:
    """Raises Refusal."""
    name = application.name
    if not 0 < len(name) <= LONGEST_TEXT or not _is_plain(name) or any(letter.isspace() for letter in name):
        text = f"The name of an application must have 1 to {LONGEST_TEXT} characters and no white space."
        raise Refusal(FAILED, text)
    if name == "Desktop":
        raise Refusal(FAILED, "No application can be called Desktop: that is what users choose for the whole desktop.")
    paths = (application.launch_path, application.working_directory or "/")
    if any(not path.startswith("/") or len(path) > LONGEST_PATH or not _is_plain(path) for path in paths):
        raise Refusal(FAILED, f"The paths of the application {name} must be absolute and printable.")
    limits = (
        (application.display_name, LONGEST_TEXT),
        (application.description, LONGEST_TEXT),
        (application.launch_parameters, LONGEST_PATH),
    )
    if any(len(text) > limit or not _is_plain(text) for text, limit in limits):
        raise Refusal(FAILED, f"A text of the application {name} is too long or not printable.")


def _is_plain(text: str) -> bool:
    return all(letter.isprintable() for letter in text)


def _icons_of(request: ImageRequest) -> Mapping[str, bytes]:
    """Return the icons by file name, drawn anew. Raises Refusal."""
    icons = {}
    for number, application in enumerate(request.applications):
        if application.icon is not None:
            try:
                icons[_icon_name(number)] = clean_icon(application.icon)
            except NotAPicture as error:
                raise Refusal(FAILED, f"The icon of the application {application.name} is refused: {error}.") from error
    return icons


def _icon_name(number: int) -> str:
    return f"{number}.png"


async def _builder_of(work: UnitOfWork, request: ImageRequest) -> ImageBuilder:
    """Raises Refusal: an instance that is no builder's asks for an image of itself."""
    builder = await work.image_builders.of_instance(request.instance_id)
    if builder is None:
        raise Refusal(FAILED, "Images are made of image builders only.")
    return builder


async def _count_of(work: UnitOfWork, image: Image) -> int:
    return sum(one.scope == image.scope for one in await work.images.visible(image.scope))


def _image_of(request: ImageRequest, builder: ImageBuilder, image_id: str, clock: Clock) -> Image:
    applications = tuple(
        Application(
            name=application.name,
            display_name=application.display_name or application.name,
            launch_path=application.launch_path,
            launch_parameters=application.launch_parameters,
            working_directory=application.working_directory,
            icon=None if application.icon is None else _icon_name(number),
            description=application.description,
        )
        for number, application in enumerate(request.applications)
    )
    return Image(
        image_id=image_id,
        scope=builder.scope,
        name=request.name,
        store_ref=made_ref(image_id),
        state=ImageState.PENDING,
        platform=builder.platform,
        display_name=request.display_name or None,
        description=request.description or None,
        applications=applications,
        base_image_arn=builder.image_arn,
        image_builder_name=builder.name,
        agent_version=LATEST if request.uses_latest_agent_version else builder.agent_version,
        image_builder_supported=True,
        created_at=clock.now(),
        progress="waiting for the image builder to stop",
        task=BuildTask(builder_id=builder.builder_id, instance_id=request.instance_id, request_id=request.request_id),
    )


def _like_its_base(image: Image, base: Image | None) -> Image:
    """Return the image as what it is made from limits it; the base may be gone, for a running builder needs it no more."""
    if base is None:
        return image
    return replace(
        image,
        supported_instance_families=base.supported_instance_families,
        public_base_image_released_at=base.public_base_image_released_at,
    )
