"""What the images reconciler has to do to finish an image: one class for each way an image comes about.

A task is stored with its image as JSON, `{"kind": ..., member: ...}`, and read back by a later version of Fanlight: a
member that is added needs a default. What a maker must remember between two steps belongs here too.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar


class TaskKind(StrEnum):
    BUILD = "build"
    COPY = "copy"
    UPDATE = "update"
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTask:
    """Publish the stopped instance of an image builder."""

    kind: ClassVar[TaskKind] = TaskKind.BUILD
    builder_id: str
    instance_id: str
    request_id: str = ""  # of the Image Assistant, which repeats a request until it is answered


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyTask:
    """Take over what another image of the account has; `source_region` may be another region than the image's own."""

    kind: ClassVar[TaskKind] = TaskKind.COPY
    source_image_id: str
    source_region: str


class UpdateStep(StrEnum):
    UPGRADE = "upgrade"  # in an instance of the source
    PUBLISH = "publish"  # that instance, stopped
    CHECK = "check"  # in an instance of what was published


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateTask:
    """Make it from another image, with its packages brought up to date.

    `builder_id` is the image builder that shows the work as the service does, for as long as it takes. `instance_id` is that of the step, chosen before it is launched; empty until there is one. `attempts` counts the
    instances of a step that were lost.
    """

    kind: ClassVar[TaskKind] = TaskKind.UPDATE
    source_image_id: str
    source_ref: str = ""
    builder_id: str = ""
    instance_id: str = ""
    step: str = UpdateStep.UPGRADE.value
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTask:
    """Make it from an archive in S3: the version of the object `source` (bucket/key) that was there when it was asked.

    `icons` are paths inside by application, None when applications are found. `is_taken` once it is in the store.
    `instance_type` is what it is tried on before it is offered, empty: it is not tried. `instance_id` and `attempts` are
    the trial's, as an update has them.
    """

    kind: ClassVar[TaskKind] = TaskKind.IMPORT
    source: str
    version: str = ""
    icons: Mapping[str, str] | None = None
    is_taken: bool = False
    instance_type: str = ""
    instance_id: str = ""
    attempts: int = 0


# A host that restarted, an instance that ran out of memory: once more. What fails twice will fail again.
MOST_ATTEMPTS = 2

ImageTask = BuildTask | CopyTask | UpdateTask | ImportTask
_CLASSES: Mapping[str, type[ImageTask]] = {
    known.kind.value: known for known in (BuildTask, CopyTask, UpdateTask, ImportTask)
}


def write_task(task: ImageTask | None) -> dict[str, Any] | None:
    return None if task is None else {"kind": task.kind.value, **asdict(task)}


def read_task(stored: Mapping[str, Any] | None) -> ImageTask | None:
    """Return the task as it was written. Raises KeyError, TypeError for what this version does not know."""
    if stored is None:
        return None
    members = dict(stored)
    return _CLASSES[members.pop("kind")](**members)
