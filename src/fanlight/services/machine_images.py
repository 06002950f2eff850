"""Machine images: name an archive in S3, list the names, take one away. The objects themselves stay the account's."""

import re
import secrets
from collections.abc import Sequence

from fanlight.domain.errors import DryRunPassed, InvalidCombination, NotFound, NotSupported
from fanlight.domain.machine_images import ArchivePlaces, MachineImage
from fanlight.domain.objects import ObjectPlace, ObjectStore, StoredObject
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions

_NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")  # as EC2 says
_PASSED = "Request would have succeeded, but DryRun flag is set."
NO_STORAGE = "This installation has no S3 endpoint (--s3-endpoint-url), so images are neither imported nor exported."


def new_ami_id() -> str:
    return f"ami-{secrets.token_hex(9)[:17]}"


class MachineImageService:
    """`objects` is None when this installation has no S3."""

    def __init__(
        self, transactions: Transactions, clock: Clock, places: ArchivePlaces, objects: ObjectStore | None
    ) -> None:
        self._transactions, self._clock, self.places, self._objects = transactions, clock, places, objects

    @property
    def has_storage(self) -> bool:
        return self._objects is not None

    async def register(
        self, scope: Scope, name: str, location: str, description: str = "", *, is_dry_run: bool = False
    ) -> MachineImage:
        """Name an object.

        Raises InvalidCombination, NotFound, AlreadyExists, NotSupported, DriverUnavailable, and DryRunPassed.
        """
        if not _NAME.fullmatch(name):
            raise InvalidCombination("Name must have 3 to 128 letters, digits and ()[] ./-'@_.")
        place = self.places.read(scope, location)
        if place is None:
            raise InvalidCombination(
                f"ImageLocation must name an object below {self.home_of(scope)} (bucket/key); it is {location[:200]!r}."
            )
        await self.check_there(place)
        machine_image = MachineImage(
            ami_id=new_ami_id(),
            scope=scope,
            name=name,
            place=place,
            description=description,
            created_at=self._clock.now(),
        )
        async with self._transactions.begin(write=True) as work:
            await work.machine_images.add(machine_image)
            if is_dry_run:
                raise DryRunPassed(_PASSED)
            await work.commit()
        return machine_image

    async def describe(self, scope: Scope, ami_ids: Sequence[str] = ()) -> Sequence[MachineImage]:
        """Return those named, or all. Raises NotFound."""
        async with self._transactions.begin() as work:
            found = await work.machine_images.of_scope(scope)
        known = {one.ami_id for one in found}
        for ami_id in ami_ids:
            if ami_id not in known:
                raise NotFound("image id", ami_id)
        return [one for one in found if not ami_ids or one.ami_id in ami_ids]

    async def deregister(self, scope: Scope, ami_id: str, *, is_dry_run: bool = False) -> None:
        """Forget the name; the object stays. Raises NotFound, DryRunPassed."""
        async with self._transactions.begin(write=True) as work:
            found = await work.machine_images.find(scope, ami_id)
            if found is None:
                raise NotFound("image id", ami_id)
            if is_dry_run:
                raise DryRunPassed(_PASSED)
            await work.machine_images.remove(found)
            await work.commit()

    async def check_there(self, place: ObjectPlace) -> StoredObject:
        """Raises NotFound, NotSupported, DriverUnavailable."""
        if self._objects is None:
            raise NotSupported(NO_STORAGE)
        stored = await self._objects.find(place)
        if stored is None:
            raise NotFound("object", str(place))
        return stored

    def home_of(self, scope: Scope) -> str:
        return str(self.places.home_of(scope))
