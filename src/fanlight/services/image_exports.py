"""Export tasks: write down the wish, tell how far it is. `reconcilers.image_exports` carries it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from fanlight.domain.errors import InvalidCombination, NotAvailable, NotFound, NotPermitted, NotSupported
from fanlight.domain.image_exports import ExportState, ImageExport
from fanlight.domain.images import ImageState
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, Wake
from fanlight.domain.tags import check_tags
from fanlight.services.image_imports import check_role
from fanlight.services.machine_images import NO_STORAGE, MachineImageService, new_ami_id
from fanlight.services.page_tokens import PageTokens, cut

DEFAULT_PAGE = 50
_FILTERS = ("AmiId", "AmiName", "ImageArn", "State", "TaskId")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExport:
    image_name: str
    ami_name: str
    role_arn: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class ImageExportService:
    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        wake: Wake,
        tokens: PageTokens,
        machine_images: MachineImageService,
    ) -> None:
        self._transactions, self._clock, self._wake = transactions, clock, wake
        self._tokens, self._machine_images = tokens, machine_images

    async def create(self, scope: Scope, new: NewExport) -> ImageExport:
        """Return the task, EXPORTING.

        Raises NotFound, NotAvailable, NotPermitted (not an own image, or the name is taken), RoleRefused, NotSupported.
        """
        check_role(scope, new.role_arn)
        check_tags(new.tags)
        if not self._machine_images.has_storage:
            raise NotSupported(NO_STORAGE)
        place = self._machine_images.places.of_export(scope, new.ami_name)
        if place is None:
            raise NotPermitted(
                f"The AmiName {new.ami_name} makes no key of an object: leave out '//', '/./' and '/../'."
            )
        async with self._transactions.begin(write=True) as work:
            image = await work.images.find(scope, name=new.image_name)
            if image is None:
                raise NotFound("image", new.image_name)
            if image.scope != scope:
                raise NotPermitted(f"The image {new.image_name} is not your own: only own images are exported.")
            if image.state is not ImageState.AVAILABLE:
                raise NotAvailable("image", new.image_name, f"it is {image.state}")
            taken = {one.name for one in await work.machine_images.of_scope(scope)}
            taken |= {e.ami_name for e in await work.image_exports.unfinished() if e.scope == scope}
            if new.ami_name in taken:
                raise NotPermitted(f"There is an AMI with the name {new.ami_name} already. Choose another AmiName.")
            export = await work.image_exports.add(
                ImageExport(
                    task_id=str(uuid4()),
                    scope=scope,
                    image_id=image.image_id,
                    image_arn=image.arn_in(scope.region),
                    ami_id=new_ami_id(),
                    ami_name=new.ami_name,
                    ami_description=new.description,
                    place=place,
                    tags=new.tags,
                    created_at=self._clock.now(),
                )
            )
            await work.commit()
        self._wake("image_export", export.task_id)
        return export

    async def get(self, scope: Scope, task_id: str) -> ImageExport:
        """Raises NotFound."""
        async with self._transactions.begin() as work:
            export = await work.image_exports.find(task_id)
        if export is None or export.scope != scope:
            raise NotFound("export task", task_id)
        return export

    async def page(
        self,
        scope: Scope,
        filters: Sequence[tuple[str, Sequence[str]]],
        *,
        limit: int | None = None,
        next_token: str | None = None,
    ) -> tuple[Sequence[ImageExport], str | None]:
        """Return one page, the newest first. Raises InvalidCombination for an unknown filter, InvalidPageToken."""
        for name, _ in filters:
            if name not in _FILTERS:
                raise InvalidCombination(f"There is no filter {name}. There are: {', '.join(_FILTERS)}.")
        asked = ["exports", *(text for name, values in filters for text in (name, *values))]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            found = await work.image_exports.of_scope(scope)
        chosen = [one for one in found if all(_value(one, name) in values for name, values in filters)]
        # The newest comes first, so what follows is what was made before.
        rest = [one for one in chosen if not after or _place(one) < after]
        page, has_more = cut(rest, limit or DEFAULT_PAGE)
        return page, self._tokens.issue(scope, asked, _place(page[-1])) if has_more else None


def _place(export: ImageExport) -> str:
    return f"{export.created_at.timestamp():020.6f}/{export.task_id}"


def _value(export: ImageExport, name: str) -> str:
    return {
        "AmiId": export.ami_id if export.state is ExportState.COMPLETED else "",
        "AmiName": export.ami_name,
        "ImageArn": export.image_arn,
        "State": export.state.value,
        "TaskId": export.task_id,
    }[name]
