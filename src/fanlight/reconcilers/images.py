"""Finish every image that was begun, and take away those that are deleted.

The row is first and last: it is written before anything is made in the store, and removed or moved to its last state
after the store is in order, so that a crash at any point leaves a row to go on from. How an image of one kind is made
is its maker's business. What stands in the store under a name of ours without a row is a stray (`image_sweeps`).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fanlight.domain.errors import DriverUnavailable
from fanlight.domain.image_tasks import ImageTask, TaskKind
from fanlight.domain.images import MADE_HERE, Image, ImageFailure, ImageState
from fanlight.domain.ports import ImageStore, Transactions
from fanlight.reconcilers.image_records import ImageRecords, MakingFailed
from fanlight.services.image_files import ImageFiles

log = logging.getLogger(__name__)


class ImageMaker(Protocol):
    """Makes images of one kind of task."""

    async def advance(self, image: Image) -> datetime | None:
        """Do what can be done for it now; return when to come back, None when the image is finished.

        It is called again after a crash at any point, and after every error, so each step must find what it has done
        before. What it needs in between stands in `image.task`. It writes through `ImageRecords` and makes nothing in
        the store but `image.store_ref`. Raises MakingFailed when there is no hope: then the store is cleared of the
        image and the row is FAILED; DriverUnavailable, ChangedMeanwhile, StoreUnavailable to be called again.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReconciler:
    """`settled` is told the task of every image that is finished, FAILED or gone; `files` has their icons."""

    transactions: Transactions
    store: ImageStore
    records: ImageRecords
    makers: dict[TaskKind, ImageMaker]
    files: ImageFiles
    settled: Callable[[ImageTask | None], None]

    async def reconcile(self, image_id: str) -> datetime | None:
        """Move one image; return when to look again. Raises DriverUnavailable, StoreUnavailable, ChangedMeanwhile."""
        async with self.transactions.begin() as work:
            image = await work.images.find_by_id(image_id)
        if image is None or not image.is_unfinished:
            return None
        if image.state is ImageState.DELETING:
            await self._delete(image)
            return None
        try:
            until = await self._maker_of(image).advance(image)
        except MakingFailed as failure:
            await self._fail(image_id, failure)
            until = None
        if until is None:
            self.settled(image.task)
        return until

    def _maker_of(self, image: Image) -> ImageMaker:
        maker = self.makers.get(image.task.kind) if image.task else None
        if maker is None:
            raise MakingFailed(ImageFailure.INTERNAL_ERROR, "This version of Fanlight does not know how to make it.")
        return maker

    async def _delete(self, image: Image) -> None:
        if image.store_ref.startswith(MADE_HERE):
            await self.store.delete(image.store_ref)
            await asyncio.to_thread(self.files.forget, image.store_ref)
        await self.records.forget(image)

    async def _fail(self, image_id: str, failure: MakingFailed) -> None:
        async with self.transactions.begin() as work:
            image = await work.images.find_by_id(image_id)  # the maker may have written to it
        if image is None or not image.is_unfinished:
            return
        try:
            await self.store.delete(image.store_ref)
        except DriverUnavailable:
            # Perhaps why it failed. What is there bears our mark, and the sweep removes it when the engine is back.
            log.warning("a failed image may be left in the store", extra={"image_id": image_id, "ref": image.store_ref})
        await self.records.fail(image, failure)
