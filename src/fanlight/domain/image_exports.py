"""Exports: tasks that write the root file system of an image, and its catalogue, into the account's place in S3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from fanlight.domain.machine import Machine
from fanlight.domain.objects import ObjectPlace
from fanlight.domain.places import Scope


class ExportState(StrEnum):
    EXPORTING = "EXPORTING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"


class ExportEvent(StrEnum):
    WRITTEN = "WRITTEN"
    FAILED = "FAILED"
    TOOK_TOO_LONG = "TOOK_TOO_LONG"


EXPORT: Machine[ExportState, ExportEvent] = Machine(
    kind="export of an image",
    initial=ExportState.EXPORTING,
    table={
        (ExportState.EXPORTING, ExportEvent.WRITTEN): ExportState.COMPLETED,
        (ExportState.EXPORTING, ExportEvent.FAILED): ExportState.FAILED,
        (ExportState.EXPORTING, ExportEvent.TOOK_TOO_LONG): ExportState.TIMED_OUT,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageExport:
    """`ami_id` is chosen when the task is made; clients see it once the task is COMPLETED."""

    task_id: str
    scope: Scope
    image_id: str
    image_arn: str
    ami_id: str
    ami_name: str
    ami_description: str = ""
    place: ObjectPlace
    tags: Mapping[str, str] = field(default_factory=dict)
    state: ExportState = ExportState.EXPORTING
    error_code: str = ""
    error_message: str = ""
    created_at: datetime
    version: int = 0

    def after(self, event: ExportEvent) -> "ImageExport":
        """Raises TransitionRefused."""
        return replace(self, state=EXPORT.after(self.state, event))


class ImageExports(Protocol):
    async def add(self, export: ImageExport) -> ImageExport: ...

    async def find(self, task_id: str) -> ImageExport | None: ...

    async def of_scope(self, scope: Scope) -> Sequence[ImageExport]:
        """Return all, the newest first."""
        ...

    async def unfinished(self) -> Sequence[ImageExport]:
        """Return those of all scopes that are EXPORTING."""
        ...

    async def save(self, export: ImageExport) -> ImageExport: ...
