"""What can keep a fleet from its instances: one table from every cause to the code that administrators read.

The codes are the service's. Most of them tell of things that exist only there; `NEVER` says for each why it cannot occur
here, and a test holds that every code stands on exactly one side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from fanlight.domain.errors import (
    CapacityExhausted,
    DomainError,
    DriverUnavailable,
    ImageMissing,
    NetworkUnusable,
    NotSupported,
    SecurityGroupMissing,
    SubnetExhausted,
    SubnetMissing,
)


class FleetErrorCode(StrEnum):
    """Every member of the service's FleetErrorCode."""

    IAM_SERVICE_ROLE_IS_MISSING = "IAM_SERVICE_ROLE_IS_MISSING"
    IAM_SERVICE_ROLE_MISSING_ENI_DESCRIBE_ACTION = "IAM_SERVICE_ROLE_MISSING_ENI_DESCRIBE_ACTION"
    IAM_SERVICE_ROLE_MISSING_ENI_CREATE_ACTION = "IAM_SERVICE_ROLE_MISSING_ENI_CREATE_ACTION"
    IAM_SERVICE_ROLE_MISSING_ENI_DELETE_ACTION = "IAM_SERVICE_ROLE_MISSING_ENI_DELETE_ACTION"
    IAM_SERVICE_ROLE_MISSING_DESCRIBE_SUBNET_ACTION = "IAM_SERVICE_ROLE_MISSING_DESCRIBE_SUBNET_ACTION"
    IAM_SERVICE_ROLE_MISSING_DESCRIBE_SECURITY_GROUPS_ACTION = (
        "IAM_SERVICE_ROLE_MISSING_DESCRIBE_SECURITY_GROUPS_ACTION"
    )
    MACHINE_ROLE_IS_MISSING = "MACHINE_ROLE_IS_MISSING"
    STS_DISABLED_IN_REGION = "STS_DISABLED_IN_REGION"
    NETWORK_INTERFACE_LIMIT_EXCEEDED = "NETWORK_INTERFACE_LIMIT_EXCEEDED"
    SUBNET_HAS_INSUFFICIENT_IP_ADDRESSES = "SUBNET_HAS_INSUFFICIENT_IP_ADDRESSES"
    SUBNET_NOT_FOUND = "SUBNET_NOT_FOUND"
    INVALID_SUBNET_CONFIGURATION = "INVALID_SUBNET_CONFIGURATION"
    SECURITY_GROUPS_NOT_FOUND = "SECURITY_GROUPS_NOT_FOUND"
    IGW_NOT_ATTACHED = "IGW_NOT_ATTACHED"
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
    FLEET_INSTANCE_PROVISIONING_FAILURE = "FLEET_INSTANCE_PROVISIONING_FAILURE"
    FLEET_STOPPED = "FLEET_STOPPED"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    INTERNAL_SERVICE_ERROR = "INTERNAL_SERVICE_ERROR"
    DOMAIN_JOIN_ERROR_FILE_NOT_FOUND = "DOMAIN_JOIN_ERROR_FILE_NOT_FOUND"
    DOMAIN_JOIN_ERROR_ACCESS_DENIED = "DOMAIN_JOIN_ERROR_ACCESS_DENIED"
    DOMAIN_JOIN_ERROR_LOGON_FAILURE = "DOMAIN_JOIN_ERROR_LOGON_FAILURE"
    DOMAIN_JOIN_ERROR_INVALID_PARAMETER = "DOMAIN_JOIN_ERROR_INVALID_PARAMETER"
    DOMAIN_JOIN_ERROR_MORE_DATA = "DOMAIN_JOIN_ERROR_MORE_DATA"
    DOMAIN_JOIN_ERROR_NO_SUCH_DOMAIN = "DOMAIN_JOIN_ERROR_NO_SUCH_DOMAIN"
    DOMAIN_JOIN_ERROR_NOT_SUPPORTED = "DOMAIN_JOIN_ERROR_NOT_SUPPORTED"
    DOMAIN_JOIN_ERROR_DS_MACHINE_ACCOUNT_QUOTA_EXCEEDED = "DOMAIN_JOIN_ERROR_DS_MACHINE_ACCOUNT_QUOTA_EXCEEDED"
    DOMAIN_JOIN_NERR_INVALID_WORKGROUP_NAME = "DOMAIN_JOIN_NERR_INVALID_WORKGROUP_NAME"
    DOMAIN_JOIN_NERR_WORKSTATION_NOT_STARTED = "DOMAIN_JOIN_NERR_WORKSTATION_NOT_STARTED"
    DOMAIN_JOIN_NERR_PASSWORD_EXPIRED = "DOMAIN_JOIN_NERR_PASSWORD_EXPIRED"  # noqa: S105 - no password, a code of the service
    DOMAIN_JOIN_INTERNAL_SERVICE_ERROR = "DOMAIN_JOIN_INTERNAL_SERVICE_ERROR"


class FleetErrorCause(StrEnum):
    """What really happened. A fleet has at most one error of each cause."""

    IMAGE_UNKNOWN = "IMAGE_UNKNOWN"
    IMAGE_NOT_AVAILABLE = "IMAGE_NOT_AVAILABLE"
    IMAGE_NOT_IN_ENGINE = "IMAGE_NOT_IN_ENGINE"
    SUBNET_MISSING = "SUBNET_MISSING"
    SUBNET_UNUSABLE = "SUBNET_UNUSABLE"
    SUBNET_EXHAUSTED = "SUBNET_EXHAUSTED"
    SECURITY_GROUP_MISSING = "SECURITY_GROUP_MISSING"
    NO_ROOM = "NO_ROOM"
    LAUNCH_REFUSED = "LAUNCH_REFUSED"
    BOOT_FAILED = "BOOT_FAILED"
    NOT_OFFERED = "NOT_OFFERED"
    ENGINE_AWAY = "ENGINE_AWAY"


@dataclass(frozen=True, slots=True)
class Row:
    """`means` and `remedy` are for the documentation; `is_standing`: every plan looks anew whether the cause is there."""

    code: FleetErrorCode
    means: str
    remedy: str
    is_standing: bool = False


_Code, _Cause = FleetErrorCode, FleetErrorCause
_PROVISIONING = _Code.FLEET_INSTANCE_PROVISIONING_FAILURE

TABLE: Mapping[FleetErrorCause, Row] = MappingProxyType(
    {
        _Cause.IMAGE_UNKNOWN: Row(
            _Code.IMAGE_NOT_FOUND,
            "The fleet's image does not exist any more.",
            "Update the fleet to an image that exists; a fleet that is STARTING has to be stopped first.",
            is_standing=True,
        ),
        _Cause.IMAGE_NOT_AVAILABLE: Row(
            _Code.IMAGE_NOT_FOUND,
            "The fleet's image exists and is not AVAILABLE.",
            "Wait until it is, or take another image.",
            is_standing=True,
        ),
        _Cause.IMAGE_NOT_IN_ENGINE: Row(
            _Code.IMAGE_NOT_FOUND,
            "The engine does not have the root file system of the image.",
            "Build it again with `fanlight images build`.",
        ),
        _Cause.SUBNET_MISSING: Row(
            _Code.SUBNET_NOT_FOUND,
            "The operator offers no subnet of the id that VpcConfig names.",
            "Correct VpcConfig, or let the operator name the subnet in the networks file.",
            is_standing=True,
        ),
        _Cause.SUBNET_UNUSABLE: Row(
            _Code.INVALID_SUBNET_CONFIGURATION,
            "The subnet is offered, and the host could not make its network.",
            "The message has the engine's words; the operator mends the configuration.",
        ),
        _Cause.SUBNET_EXHAUSTED: Row(
            _Code.SUBNET_HAS_INSUFFICIENT_IP_ADDRESSES,
            "Every address of the fleet's subnets is in use.",
            "Name another subnet too, or let the operator make it larger.",
        ),
        _Cause.SECURITY_GROUP_MISSING: Row(
            _Code.SECURITY_GROUPS_NOT_FOUND,
            "The operator offers no security group of the id that VpcConfig names.",
            "Correct VpcConfig, or let the operator name the group in the networks file.",
            is_standing=True,
        ),
        _Cause.NO_ROOM: Row(
            _PROVISIONING,
            "The engine has no room: disk, memory, addresses or user ids.",
            "Stop what is not needed or enlarge the pool; Fanlight tries again by itself.",
        ),
        _Cause.LAUNCH_REFUSED: Row(
            _PROVISIONING, "The engine refused the instance.", "The message has the engine's words."
        ),
        _Cause.BOOT_FAILED: Row(
            _PROVISIONING,
            "An instance was made, and its agent did not report in time or reported a failure.",
            "Most often the image lacks something: look at it with `fanlight images build`.",
        ),
        _Cause.NOT_OFFERED: Row(
            _Code.VALIDATION_ERROR,
            "This installation does not offer the fleet's instance type any more.",
            "Stop the fleet and update it to another instance type.",
        ),
        _Cause.ENGINE_AWAY: Row(
            _Code.INTERNAL_SERVICE_ERROR,
            "The engine that runs instances does not answer.",
            "`fanlight doctor` on the server; Fanlight tries again by itself.",
        ),
    }
)

_NO_ROLES = "There are no roles here: Fanlight acts on its own host, and instances get no AWS credentials."
_NO_DOMAINS = "Images are Linux and join no Active Directory domain; DomainJoinInfo is refused."

NEVER: Mapping[FleetErrorCode, str] = MappingProxyType(
    {
        **{
            code: _NO_ROLES
            for code in FleetErrorCode
            if code.startswith("IAM_SERVICE_ROLE_")
            or code in (_Code.MACHINE_ROLE_IS_MISSING, _Code.STS_DISABLED_IN_REGION)
        },
        **{code: _NO_DOMAINS for code in FleetErrorCode if code.startswith("DOMAIN_JOIN_")},
        _Code.NETWORK_INTERFACE_LIMIT_EXCEEDED: "An installation limits addresses, not network interfaces.",
        _Code.IGW_NOT_ATTACHED: "The way out is the host's own; no gateway is attached to subnets.",
        _Code.FLEET_STOPPED: "Belongs to other resources; a stopped fleet just is STOPPED.",
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A cause and the words for the administrator."""

    cause: FleetErrorCause
    message: str


@dataclass(frozen=True, slots=True)
class FleetError:
    cause: FleetErrorCause
    message: str
    happened_at: datetime

    @property
    def code(self) -> FleetErrorCode:
        return TABLE[self.cause].code


# The first class that an error is an instance of decides.
_CAUSES: tuple[tuple[type[DomainError], FleetErrorCause], ...] = (
    (ImageMissing, _Cause.IMAGE_NOT_IN_ENGINE),
    (SubnetMissing, _Cause.SUBNET_MISSING),
    (SecurityGroupMissing, _Cause.SECURITY_GROUP_MISSING),
    (NetworkUnusable, _Cause.SUBNET_UNUSABLE),
    (SubnetExhausted, _Cause.SUBNET_EXHAUSTED),
    (CapacityExhausted, _Cause.NO_ROOM),
    (DriverUnavailable, _Cause.ENGINE_AWAY),
    (NotSupported, _Cause.NOT_OFFERED),
)
_OPENING = {
    _Cause.ENGINE_AWAY: "The engine that runs instances does not answer: ",
    _Cause.NO_ROOM: "No room for another instance: ",
}


def problem_of(error: DomainError) -> Problem:
    """Return the cause of a launch that failed with this error."""
    cause = next((cause for kind, cause in _CAUSES if isinstance(error, kind)), _Cause.LAUNCH_REFUSED)
    return Problem(cause, f"{_OPENING.get(cause, '')}{error}")


def is_standing(cause: FleetErrorCause) -> bool:
    return TABLE[cause].is_standing


def is_answered_by_a_launch(cause: FleetErrorCause) -> bool:
    """Return whether an instance that the engine accepted proves that the cause is gone; others need one that boots."""
    return not is_standing(cause) and cause is not _Cause.BOOT_FAILED
