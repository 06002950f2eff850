"""What an AppStream instance type means in processors, memory and disk here.

The names are the service's; the sizes are the published ones of the General Purpose, Compute and Memory families.
Graphics types are absent: a host without a GPU cannot honour them, and a silent fallback would be a lie.
"""

from dataclasses import dataclass

from fanlight.domain.errors import NotSupported


@dataclass(frozen=True, slots=True)
class InstanceSize:
    cpu_count: int
    memory_in_mib: int
    family: str


_GENERAL, _COMPUTE, _MEMORY = "General Purpose", "Compute Optimized", "Memory Optimized"

INSTANCE_TYPES: dict[str, InstanceSize] = {
    "stream.standard.small": InstanceSize(1, 2 * 1024, _GENERAL),
    "stream.standard.medium": InstanceSize(2, 4 * 1024, _GENERAL),
    "stream.standard.large": InstanceSize(2, 8 * 1024, _GENERAL),
    "stream.standard.xlarge": InstanceSize(4, 16 * 1024, _GENERAL),
    "stream.standard.2xlarge": InstanceSize(8, 32 * 1024, _GENERAL),
    "stream.compute.large": InstanceSize(2, 3_840, _COMPUTE),
    "stream.compute.xlarge": InstanceSize(4, 7_680, _COMPUTE),
    "stream.compute.2xlarge": InstanceSize(8, 15 * 1024, _COMPUTE),
    "stream.compute.4xlarge": InstanceSize(16, 30 * 1024, _COMPUTE),
    "stream.compute.8xlarge": InstanceSize(36, 60 * 1024, _COMPUTE),
    "stream.memory.large": InstanceSize(2, 15_616, _MEMORY),
    "stream.memory.xlarge": InstanceSize(4, 31_232, _MEMORY),
    "stream.memory.2xlarge": InstanceSize(8, 61 * 1024, _MEMORY),
    "stream.memory.4xlarge": InstanceSize(16, 122 * 1024, _MEMORY),
    "stream.memory.8xlarge": InstanceSize(32, 244 * 1024, _MEMORY),
}


def size_of(instance_type: str) -> InstanceSize:
    """Return the limits of an instance type. Raises NotSupported for types this host cannot honour."""
    try:
        return INSTANCE_TYPES[instance_type]
    except KeyError:
        known = ", ".join(sorted(INSTANCE_TYPES))
        raise NotSupported(f"The instance type {instance_type} is not offered here. Choose one of: {known}.") from None
