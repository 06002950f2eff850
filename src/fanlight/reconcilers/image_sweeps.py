"""The safety net of images: wake what was begun, and clear the store of what no row has."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta

from fanlight.domain.errors import DriverError
from fanlight.domain.images import MADE_HERE, ImageState
from fanlight.domain.ports import ImageStore, Transactions
from fanlight.reconcilers.queues import KeyedQueue
from fanlight.services.image_files import ImageFiles

log = logging.getLogger(__name__)

INSTALLATION_PROPERTY = "fanlight.installation"


class ImageSweep:
    """`run_if_due` does its work once an interval; the first call does it at once.

    An image in the store is a stray when it has a name of ours, the mark of this very installation, and no row that
    wants it. The store is looked at before the rows: a row is always older than what is made for it.
    """

    def __init__(
        self,
        transactions: Transactions,
        store: ImageStore,
        queue: KeyedQueue,
        *,
        installation: str,
        interval: timedelta,
        files: ImageFiles,
        exports: tuple[KeyedQueue, Callable[[], Awaitable[Collection[str]]]] | None = None,
    ) -> None:
        self._transactions, self._store, self._queue, self._files = transactions, store, queue, files
        self._installation, self._interval = installation, interval
        self._exports = exports
        self.start_anew()

    def start_anew(self) -> None:
        self._due_at: datetime | None = None

    async def run_if_due(self, now: datetime) -> None:
        """Raises StoreUnavailable. An engine that is away is logged."""
        if self._due_at is not None and now < self._due_at:
            return
        try:
            found = [stored for stored in await self._store.observe() if stored.ref.startswith(MADE_HERE)]
        except DriverError as error:
            log.warning("cannot look at the image store", extra={"why": str(error)})
            found = []
        async with self._transactions.begin() as work:
            images = await work.images.everywhere()
        for image in images:
            if image.is_unfinished and not self._queue.knows(image.image_id):
                self._queue.wake(image.image_id)
        if self._exports is not None:
            exports, unfinished = self._exports
            for task_id in await unfinished():
                if not exports.knows(task_id):
                    exports.wake(task_id)
        wanted = {image.store_ref for image in images if image.state is not ImageState.FAILED}
        for stored in found:
            is_ours = stored.properties.get(INSTALLATION_PROPERTY) == self._installation
            if is_ours and stored.ref not in wanted:
                await self._remove(stored.ref)
        await asyncio.to_thread(self._files.forget_all_but, {image.store_ref for image in images})
        self._due_at = now + self._interval

    async def _remove(self, ref: str) -> None:
        try:
            await self._store.delete(ref)
        except DriverError as error:
            log.warning("a stray image cannot be removed", extra={"ref": ref, "why": str(error)})
        else:
            log.warning("stray image removed", extra={"ref": ref})
