"""CreateImportedImage: write down the wish for an image of an archive in S3. `reconcilers.image_imports` makes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from uuid import uuid4

from fanlight.domain.errors import DryRunPassed, InvalidCombination, NotFound, RoleRefused
from fanlight.domain.image_tasks import ImportTask
from fanlight.domain.images import Application, Image, ImageState, made_ref
from fanlight.domain.instance_types import size_of
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, Wake
from fanlight.domain.quotas import PRIVATE_IMAGES
from fanlight.domain.tags import check_tags
from fanlight.services.machine_images import MachineImageService
from fanlight.services.quotas import QuotaKeeper

LATEST_AGENT = "LATEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenApplication:
    """One entry of AppCatalogConfig."""

    name: str
    program: str
    display_name: str = ""
    icon: str = ""
    working_directory: str = ""
    launch_parameters: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImport:
    """What CreateImportedImage asks for. `catalogue` None: applications are found; `trial_type` None: it is not tried."""

    name: str
    ami_id: str
    role_arn: str | None
    description: str | None = None
    display_name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    is_always_latest: bool = False
    catalogue: Sequence[GivenApplication] | None = None
    trial_type: str | None = None
    is_dry_run: bool = False


def check_role(scope: Scope, role_arn: str | None) -> None:
    """Take a role of the account itself: there are no others here, and none is needed. Raises RoleRefused."""
    if role_arn is not None and not role_arn.startswith(f"arn:aws:iam::{scope.account_id}:role/"):
        raise RoleRefused(
            f"The service encountered an error because your IAM role {role_arn} is not a role of the account "
            f"{scope.account_id}."
        )


class ImageImportService:
    """`agent_version` returns the runtime version of today, which an image that is not always latest is pinned to."""

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        wake: Wake,
        machine_images: MachineImageService,
        *,
        quotas: QuotaKeeper,
        agent_version: Callable[[], str | None],
    ) -> None:
        self._transactions, self._clock, self._wake = transactions, clock, wake
        self._machine_images, self._quotas, self._agent_version = machine_images, quotas, agent_version

    async def create(self, scope: Scope, new: NewImport) -> Image:
        """Return the image, IMPORTING.

        Raises NotFound, AlreadyExists, InvalidCombination, LimitExceeded, RoleRefused, NotSupported, DriverUnavailable;
        DryRunPassed when it was a dry run that found nothing wrong.
        """
        check_role(scope, new.role_arn)
        check_tags(new.tags)
        _check(new)
        async with self._transactions.begin() as work:
            source = await work.machine_images.find(scope, new.ami_id)
        if source is None:
            raise NotFound("AMI", new.ami_id)
        stored = await self._machine_images.check_there(source.place)
        image_id = uuid4().hex
        image = Image(
            image_id=image_id,
            scope=scope,
            name=new.name,
            store_ref=made_ref(image_id),
            state=ImageState.IMPORTING,
            display_name=new.display_name,
            description=new.description,
            applications=tuple(_application(one) for one in new.catalogue or ()),
            agent_version=LATEST_AGENT if new.is_always_latest else self._agent_version() or LATEST_AGENT,
            image_builder_supported=True,
            is_imported=True,
            created_at=self._clock.now(),
            task=ImportTask(
                source=f"{stored.place.bucket}/{stored.place.key}",
                version=stored.version,
                icons=None if new.catalogue is None else {one.name: one.icon for one in new.catalogue},
                instance_type=new.trial_type or "",
            ),
        )
        async with self._transactions.begin(write=True) as work:
            await work.images.add(image)
            own = [one for one in await work.images.visible(scope) if one.scope == scope]
            self._quotas.admit(PRIVATE_IMAGES, len(own))
            await work.tags.put(image.arn_in(scope.region), new.tags)
            if new.is_dry_run:
                raise DryRunPassed(f"The request would have succeeded: the image {new.name} can be imported.")
            await work.commit()
        self._wake("image", image_id)
        return image


def _check(new: NewImport) -> None:
    """Raises InvalidCombination, NotSupported."""
    if new.trial_type is not None:
        size_of(new.trial_type)
    names = [one.name for one in new.catalogue or ()]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidCombination(f"AppCatalogConfig names the application {twice} twice.")
    for one in new.catalogue or ():
        for member, path in (
            ("AbsoluteAppPath", one.program),
            ("AbsoluteIconPath", one.icon),
            ("WorkingDirectory", one.working_directory),
        ):
            if path and not _is_absolute(path):
                raise InvalidCombination(
                    f"{member} of the application {one.name} must be an absolute path without '..'."
                )


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and ".." not in PurePosixPath(path).parts and path.isprintable()


def _application(given: GivenApplication) -> Application:
    return Application(
        name=given.name,
        display_name=given.display_name or given.name,
        launch_path=given.program,
        launch_parameters=given.launch_parameters,
        working_directory=given.working_directory,
    )
