"""What the api process may ask of the privileged compute process: strict readers and writers, JSON both ways.

The api process is less privileged than the compute process, so every field is read as if an enemy had written it:
exactly the known members, of exactly their types, within their limits.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fanlight.domain.errors import (
    CapacityExhausted,
    DriverError,
    DriverUnavailable,
    ImageMissing,
    InstanceMissing,
    LaunchRefused,
    PublishRefused,
    SecurityGroupMissing,
    SnapshotMissing,
    SnapshotRefused,
    SubnetExhausted,
    SubnetMissing,
    SubnetUnusable,
)
from fanlight.domain.file_systems import MOST_MOUNTS, FileSystemMount, mistake_in_mount_point, overlapping
from fanlight.domain.file_systems import NAME as FILE_SYSTEM_NAME
from fanlight.domain.image_archives import ArchiveNotTaken, ArchiveReport
from fanlight.domain.images import MADE_HERE, Application
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.partial_sights import PartlyUnavailable
from fanlight.domain.ports import Capabilities, InstanceRole, InstanceSpec, ObservedInstance, Power, StoredImage
from fanlight.drivers.incus.instances import INSTANCE_ID, LABEL_NAME, LONGEST_LABEL_VALUE

SOCKET_NAME = "compute.sock"
MAX_BODY_IN_BYTES = 128 * 1024
IMAGE_REF = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MADE_REF = re.compile(rf"{MADE_HERE}[a-z0-9-]{{1,58}}")
RUNTIME_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SNAPSHOT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
REGION = re.compile(r"[a-z0-9-]{1,32}")
MAX_LABELS = 64
MAX_NAMES = 1024
NETWORK_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
MAX_PLACES = 50
MAX_CPUS, MAX_MEMORY_IN_MIB, MAX_DISK_IN_GIB = 1024, 16 * 1024 * 1024, 64 * 1024


class MalformedRequest(ValueError):
    """The request is not one of this protocol. The text names the member, never its content."""


def read_instance_id(body: Any) -> str:
    """Return the id of `{"instance_id": ...}`. Raises MalformedRequest."""
    return str(_read(body, {"instance_id": _is_match(INSTANCE_ID)})["instance_id"])


def read_start(body: Any) -> tuple[str, str | None]:
    """Return instance and runtime version of a start. Raises MalformedRequest."""
    members = _read(body, {"instance_id": _is_match(INSTANCE_ID), "runtime_version": _is_version_or_none})
    return members["instance_id"], members["runtime_version"]


def read_spec(body: Any) -> InstanceSpec:
    """Raises MalformedRequest."""
    members = _read(body, _SPEC)
    names = {name: tuple(members[name]) for name in ("subnet_ids", "security_group_ids")}
    mounts = tuple(FileSystemMount(**one) for one in members["file_systems"])
    return InstanceSpec(**(members | names | {"role": InstanceRole(members["role"]), "file_systems": mounts}))


def write_spec(spec: InstanceSpec) -> dict[str, Any]:
    return {
        "instance_id": spec.instance_id,
        "image_ref": spec.image_ref,
        "cpu_count": spec.cpu_count,
        "memory_in_mib": spec.memory_in_mib,
        "disk_in_gib": spec.disk_in_gib,
        "has_internet_access": spec.has_internet_access,
        "subnet_ids": list(spec.subnet_ids),
        "security_group_ids": list(spec.security_group_ids),
        "file_systems": [asdict(mount) for mount in spec.file_systems],
        "places": spec.places,
        "role": spec.role.value,
        "labels": dict(spec.labels),
    }


def read_ref(body: Any) -> str:
    """Return the name of `{"ref": ...}`. Raises MalformedRequest."""
    return str(_read(body, {"ref": _is_match(IMAGE_REF)})["ref"])


def read_made_ref(body: Any) -> str:
    """Return the name of an image that was made here: others come and go by the command line alone."""
    return str(_read(body, {"ref": _is_match(MADE_REF)})["ref"])


def read_publish(body: Any) -> dict[str, Any]:
    """Return the arguments of `ImageStore.publish`. Raises MalformedRequest."""
    return _read(body, {"instance_id": _is_match(INSTANCE_ID), "ref": _is_match(MADE_REF), "properties": _are_labels})


def read_copy(body: Any) -> dict[str, Any]:
    """Return the arguments of `ImageStore.copy`. Raises MalformedRequest."""
    return _read(body, {"ref": _is_match(IMAGE_REF), "new_ref": _is_match(MADE_REF), "region": _is_match(REGION)})


def read_snapshot(body: Any) -> dict[str, Any]:
    """Return instance and name of a snapshot. Raises MalformedRequest."""
    return _read(body, {"instance_id": _is_match(INSTANCE_ID), "name": _is_match(SNAPSHOT)})


def read_archive_taking(body: Any) -> dict[str, Any]:
    """Return ref, region and properties of an archive to take. Raises MalformedRequest."""
    return _read(body, {"ref": _is_match(MADE_REF), "region": _is_match(NETWORK_NAME), "properties": _are_labels})


def read_archive_place(body: Any) -> dict[str, Any]:
    """Return ref and region of an image to give. Raises MalformedRequest."""
    return _read(body, {"ref": _is_match(MADE_REF), "region": _is_match(NETWORK_NAME)})


def write_archive_report(report: ArchiveReport) -> dict[str, Any]:
    return {
        "applications": [asdict(application) for application in report.applications],
        "icons": {name: base64.b64encode(picture).decode() for name, picture in report.icons.items()},
        "size_in_bytes": report.size_in_bytes,
    }


def read_archive_report(body: Mapping[str, Any]) -> ArchiveReport:
    return ArchiveReport(
        applications=tuple(Application(**one) for one in body["applications"]),
        icons={name: base64.b64decode(picture) for name, picture in body["icons"].items()},
        size_in_bytes=body["size_in_bytes"],
    )


def write_stored(image: StoredImage) -> dict[str, Any]:
    return asdict(image) | {"properties": dict(image.properties)}


def read_stored(body: Mapping[str, Any]) -> StoredImage:
    return StoredImage(**body)


def write_observed(observed: ObservedInstance) -> dict[str, Any]:
    return {
        "instance_id": observed.instance_id,
        "power": observed.power.value,
        "labels": dict(observed.labels),
        "first_uid": observed.first_uid,
        "detail": observed.detail,
        "interface": asdict(observed.interface) if observed.interface else None,
    }


def read_observed(body: Mapping[str, Any]) -> ObservedInstance:
    """The compute process is trusted: its answers are taken as they are."""
    interface = NetworkInterface(**body["interface"]) if body["interface"] else None
    return ObservedInstance(**{**body, "power": Power(body["power"]), "interface": interface})


def write_capabilities(capabilities: Capabilities) -> dict[str, bool]:
    return {
        "isolates_network": capabilities.isolates_network,
        "enforces_disk_quota": capabilities.enforces_disk_quota,
        "streams_pixels": capabilities.streams_pixels,
        "separates_users": capabilities.separates_users,
    }


def read_capabilities(body: Mapping[str, Any]) -> Capabilities:
    return Capabilities(**body)


def write_error(error: DriverError) -> dict[str, Any]:
    if isinstance(error, PartlyUnavailable):
        seen = [write_observed(one) for one in error.seen]
        return {"error": "PartlyUnavailable", "text": str(error), "seen": seen, "regions": sorted(error.regions)}
    kind = next((name for name, known in _ERRORS.items() if type(error) is known), "DriverUnavailable")
    return {"error": kind, "text": str(error), "image": error.image if isinstance(error, ImageMissing) else ""}


def read_error(body: Mapping[str, Any]) -> DriverError:
    """Return the error that was raised on the other side; whatever is not understood is DriverUnavailable."""
    if body.get("error") == "ImageMissing":
        return ImageMissing(str(body.get("image")))
    if body.get("error") == "PartlyUnavailable":
        seen = [read_observed(one) for one in body["seen"]]
        return PartlyUnavailable(str(body.get("text")), seen=seen, regions=body["regions"])
    return _ERRORS.get(str(body.get("error")), DriverUnavailable)(str(body.get("text")))


_ERRORS: dict[str, type[DriverError]] = {
    "CapacityExhausted": CapacityExhausted,
    "ArchiveNotTaken": ArchiveNotTaken,
    "DriverUnavailable": DriverUnavailable,
    "ImageMissing": ImageMissing,
    "InstanceMissing": InstanceMissing,
    "LaunchRefused": LaunchRefused,
    "PublishRefused": PublishRefused,
    "SecurityGroupMissing": SecurityGroupMissing,
    "SnapshotMissing": SnapshotMissing,
    "SnapshotRefused": SnapshotRefused,
    "SubnetExhausted": SubnetExhausted,
    "SubnetMissing": SubnetMissing,
    "SubnetUnusable": SubnetUnusable,
}


_ROLES = frozenset(role.value for role in InstanceRole)


def _is_match(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_version_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, str) and RUNTIME_VERSION.fullmatch(value) is not None)


def _is_between(lowest: int, highest: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and lowest <= value <= highest  # a bool is no number here


def _are_network_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_NAMES
        and all(isinstance(name, str) and NETWORK_NAME.fullmatch(name) for name in value)
    )


def _are_mounts(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > MOST_MOUNTS or not all(map(_is_mount, value)):
        return False
    return not overlapping([one["mount_point"] for one in value])


def _is_mount(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"name", "mount_point"}
        and all(isinstance(text, str) for text in value.values())
        and FILE_SYSTEM_NAME.fullmatch(value["name"]) is not None
        and not mistake_in_mount_point(value["mount_point"])
    )


def _are_labels(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= MAX_LABELS
        and all(
            LABEL_NAME.fullmatch(name)
            and isinstance(text, str)
            and len(text) <= LONGEST_LABEL_VALUE
            and text.isprintable()
            for name, text in value.items()
        )
    )


_SPEC: dict[str, Callable[[Any], bool]] = {
    "instance_id": _is_match(INSTANCE_ID),
    "image_ref": _is_match(IMAGE_REF),
    "cpu_count": _is_between(1, MAX_CPUS),
    "memory_in_mib": _is_between(1, MAX_MEMORY_IN_MIB),
    "disk_in_gib": _is_between(1, MAX_DISK_IN_GIB),
    "has_internet_access": lambda value: isinstance(value, bool),
    "subnet_ids": _are_network_names,
    "security_group_ids": _are_network_names,
    "file_systems": _are_mounts,
    "places": _is_between(1, MAX_PLACES),
    "role": lambda value: isinstance(value, str) and value in _ROLES,
    "labels": _are_labels,
}


def _read(body: Any, members: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise MalformedRequest("The body is not an object.")
    if set(body) != set(members):
        raise MalformedRequest(f"The members must be exactly {', '.join(members)}.")
    for name, is_right in members.items():
        if not is_right(body[name]):
            raise MalformedRequest(f"The member {name} is malformed or out of range.")
    return body
