"""What the EC2 instance types that launch profiles name mean here: processors and memory, as published for each type.

All of them are types with a graphics processor. A machine here has none: what it shows is drawn by its processors. The
documentation says so, and a launch profile may name every type that the service took.
"""

from fanlight.domain.errors import NotSupported
from fanlight.domain.instance_types import InstanceSize

_FAMILY = "Graphics"
_GIB = 1024

EC2_INSTANCE_TYPES: dict[str, InstanceSize] = {
    "g4dn.xlarge": InstanceSize(4, 16 * _GIB, _FAMILY),
    "g4dn.2xlarge": InstanceSize(8, 32 * _GIB, _FAMILY),
    "g4dn.4xlarge": InstanceSize(16, 64 * _GIB, _FAMILY),
    "g4dn.8xlarge": InstanceSize(32, 128 * _GIB, _FAMILY),
    "g4dn.12xlarge": InstanceSize(48, 192 * _GIB, _FAMILY),
    "g4dn.16xlarge": InstanceSize(64, 256 * _GIB, _FAMILY),
    "g3.4xlarge": InstanceSize(16, 122 * _GIB, _FAMILY),
    "g3s.xlarge": InstanceSize(4, 31_232, _FAMILY),
    "g5.xlarge": InstanceSize(4, 16 * _GIB, _FAMILY),
    "g5.2xlarge": InstanceSize(8, 32 * _GIB, _FAMILY),
    "g5.4xlarge": InstanceSize(16, 64 * _GIB, _FAMILY),
    "g5.8xlarge": InstanceSize(32, 128 * _GIB, _FAMILY),
    "g5.16xlarge": InstanceSize(64, 256 * _GIB, _FAMILY),
}


def size_of(ec2_instance_type: str) -> InstanceSize:
    """Return the limits of an instance type. Raises NotSupported."""
    try:
        return EC2_INSTANCE_TYPES[ec2_instance_type]
    except KeyError:
        known = ", ".join(EC2_INSTANCE_TYPES)
        raise NotSupported(
            f"The instance type {ec2_instance_type} is not offered here. Choose one of: {known}."
        ) from None
