"""Carry out exports: the archive goes into S3 first, then the catalogue beside it, then the row says that it is there.

An interrupted export is begun anew: objects appear whole or not at all, and each replaces the one before.
"""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from fanlight.domain.errors import AlreadyExists, DomainError, DriverError, DriverUnavailable
from fanlight.domain.image_exports import ExportEvent, ExportState, ImageExport
from fanlight.domain.images import Image, ImageState
from fanlight.domain.machine_images import MachineImage, catalogue_of
from fanlight.domain.objects import ObjectPlace, ObjectStore
from fanlight.domain.ports import Clock, Transactions
from fanlight.reconcilers.image_imports import ArchiveTools

log = logging.getLogger(__name__)

LONGEST_EXPORT = timedelta(hours=6)
CATALOGUE_FORMAT = 1
_GONE, _REFUSED, _NO_STORAGE = "ImageNotAvailable", "ExportFailed", "NoStorage"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageExportReconciler:
    transactions: Transactions
    tools: ArchiveTools
    clock: Clock

    async def reconcile(self, task_id: str) -> datetime | None:
        """Finish one export. Raises DriverUnavailable, StoreUnavailable, ChangedMeanwhile: to be called again."""
        async with self.transactions.begin() as work:
            export = await work.image_exports.find(task_id)
            image = await work.images.find_by_id(export.image_id) if export else None
        if export is None or export.state is not ExportState.EXPORTING:
            return None
        if self.clock.now() - export.created_at > LONGEST_EXPORT:
            await self._end(export, ExportEvent.TOOK_TOO_LONG, "TimedOut", "It was not finished within 6 hours.")
        elif image is None or image.state is not ImageState.AVAILABLE:
            await self._end(export, ExportEvent.FAILED, _GONE, "The image is not there any more.")
        elif self.tools.objects is None:
            await self._end(export, ExportEvent.FAILED, _NO_STORAGE, "This installation has no S3 endpoint any more.")
        else:
            await self._carry_out(export, image, self.tools.objects)
        return None

    async def unfinished(self) -> list[str]:
        """Return the tasks that somebody has to carry on, for the sweep."""
        async with self.transactions.begin() as work:
            return [export.task_id for export in await work.image_exports.unfinished()]

    async def _carry_out(self, export: ImageExport, image: Image, objects: ObjectStore) -> None:
        log.info("image is exported", extra={"image": image.name, "to": str(export.place)})
        try:
            await objects.ensure_bucket(export.place.bucket)
            written = await objects.write(export.place, self.tools.archives.give(image.store_ref, image.scope.region))
            await objects.write(catalogue_of(export.place), _catalogue(image))
        except DriverUnavailable:
            raise
        except DriverError as error:
            await self._end(export, ExportEvent.FAILED, _REFUSED, str(error))
            return
        log.info("image exported", extra={"image": image.name, "to": str(export.place), "bytes": written.size})
        await self._complete(export, image)

    async def _complete(self, export: ImageExport, image: Image) -> None:
        """Write down task and machine image together, so that neither is seen without the other."""
        made = MachineImage(
            ami_id=export.ami_id,
            scope=export.scope,
            name=export.ami_name,
            place=export.place,
            description=export.ami_description,
            image_name=image.name,
            created_at=self.clock.now(),
        )
        try:
            async with self.transactions.begin(write=True) as work:
                await work.machine_images.add(made)
                await work.image_exports.save(export.after(ExportEvent.WRITTEN))
                await work.tags.put(_ami_arn(export), export.tags)
                await work.commit()
        except AlreadyExists:
            text = f"An AMI with the name {export.ami_name} was registered meanwhile."
            await self._end(export, ExportEvent.FAILED, _REFUSED, text)

    async def _end(self, export: ImageExport, event: ExportEvent, code: str, message: str) -> None:
        log.warning("export failed", extra={"task_id": export.task_id, "why": message})
        await self._clear(export.place)
        ended = replace(export.after(event), error_code=code, error_message=message)
        async with self.transactions.begin(write=True) as work:
            await work.image_exports.save(ended)
            await work.commit()

    async def _clear(self, place: ObjectPlace) -> None:
        """Remove an archive that no row will name. What cannot be removed is told, and harms nobody."""
        if self.tools.objects is None:
            return
        try:
            await self.tools.objects.delete(place)
        except DomainError as error:
            log.warning("an archive of a failed export is left", extra={"place": str(place), "why": str(error)})


async def _catalogue(image: Image) -> AsyncIterator[bytes]:
    """Yield what an administrator gives CreateImportedImage as AppCatalogConfig, and what else is known of the image."""
    document = {
        "format": CATALOGUE_FORMAT,
        "name": image.name,
        "display_name": image.display_name,
        "description": image.description,
        "agent_version": image.agent_version,
        "applications": [
            {name: value for name, value in asdict(application).items() if name != "icon"}
            for application in image.applications
        ],
    }
    yield json.dumps(document, indent=1).encode() + b"\n"


def _ami_arn(export: ImageExport) -> str:
    return f"arn:aws:ec2:{export.scope.region}::image/{export.ami_id}"
