"""Studio components: what a studio has beside its machines, and the scripts that connect a machine to it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from fanlight.domain.errors import InvalidCombination
from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.resources import Resource, ResourceEvent, ResourceState, Status

PROTOCOL_VERSION = "2021-03-31"


class ComponentType(StrEnum):
    ACTIVE_DIRECTORY = "ACTIVE_DIRECTORY"
    SHARED_FILE_SYSTEM = "SHARED_FILE_SYSTEM"
    COMPUTE_FARM = "COMPUTE_FARM"
    LICENSE_SERVICE = "LICENSE_SERVICE"
    CUSTOM = "CUSTOM"


class ComponentSubtype(StrEnum):
    AWS_MANAGED_MICROSOFT_AD = "AWS_MANAGED_MICROSOFT_AD"
    AMAZON_FSX_FOR_WINDOWS = "AMAZON_FSX_FOR_WINDOWS"
    AMAZON_FSX_FOR_LUSTRE = "AMAZON_FSX_FOR_LUSTRE"
    CUSTOM = "CUSTOM"


class ScriptPlatform(StrEnum):
    LINUX = "LINUX"
    WINDOWS = "WINDOWS"


class RunContext(StrEnum):
    """As root before anybody is there, or as the user at login."""

    SYSTEM_INITIALIZATION = "SYSTEM_INITIALIZATION"
    USER_INITIALIZATION = "USER_INITIALIZATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentScript:
    platform: ScriptPlatform
    run_context: RunContext
    protocol_version: str = PROTOCOL_VERSION
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptParameter:
    """A variable in the environment of the component's scripts."""

    key: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputerAttribute:
    name: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveDirectory:
    directory_id: str | None = None
    organizational_unit_distinguished_name: str | None = None
    computer_attributes: tuple[ComputerAttribute, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFileSystem:
    endpoint: str | None = None
    file_system_id: str | None = None
    linux_mount_point: str | None = None
    share_name: str | None = None
    windows_mount_drive: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeFarm:
    endpoint: str | None = None
    active_directory_user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseService:
    endpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentConfiguration:
    """Exactly one of these."""

    active_directory: ActiveDirectory | None = None
    shared_file_system: SharedFileSystem | None = None
    compute_farm: ComputeFarm | None = None
    license_service: LicenseService | None = None

    @property
    def types(self) -> tuple[ComponentType, ...]:
        """Return the types whose configuration is given."""
        given = {
            ComponentType.ACTIVE_DIRECTORY: self.active_directory,
            ComponentType.SHARED_FILE_SYSTEM: self.shared_file_system,
            ComponentType.COMPUTE_FARM: self.compute_farm,
            ComponentType.LICENSE_SERVICE: self.license_service,
        }
        return tuple(kind for kind, configuration in given.items() if configuration is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioComponent(Resource):
    """The roles are what the caller named; nothing here assumes them."""

    KIND: ClassVar[ResourceKind] = ResourceKind.STUDIO_COMPONENT

    name: str
    description: str | None = None
    type: ComponentType
    subtype: ComponentSubtype | None = None
    configuration: ComponentConfiguration | None = None
    scripts: tuple[ComponentScript, ...] = ()
    parameters: tuple[ScriptParameter, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    runtime_role_arn: str | None = None
    secure_initialization_role_arn: str | None = None

    def scripts_for(self, platform: ScriptPlatform, run_context: RunContext) -> tuple[ComponentScript, ...]:
        """Return those that run there and then, in the order in which they were given."""
        return tuple(one for one in self.scripts if one.platform is platform and one.run_context is run_context)


_SUBTYPES: Mapping[ComponentSubtype, ComponentType] = {
    ComponentSubtype.AWS_MANAGED_MICROSOFT_AD: ComponentType.ACTIVE_DIRECTORY,
    ComponentSubtype.AMAZON_FSX_FOR_WINDOWS: ComponentType.SHARED_FILE_SYSTEM,
    ComponentSubtype.AMAZON_FSX_FOR_LUSTRE: ComponentType.SHARED_FILE_SYSTEM,
}


def check_component(component: StudioComponent) -> None:
    """Raise InvalidCombination for a component whose members do not fit together."""
    if component.configuration is not None:
        _check_configuration(component.type, component.configuration.types)
    wanted = _SUBTYPES.get(component.subtype) if component.subtype else None
    if wanted not in (None, component.type):
        raise InvalidCombination(f"The subtype {component.subtype} is for the type {wanted}, not {component.type}.")
    keys = [parameter.key for parameter in component.parameters]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise InvalidCombination(f"Script parameters occur more than once: {', '.join(twice)}.")


def _check_configuration(wanted: ComponentType, given: Collection[ComponentType]) -> None:
    if len(given) != 1:
        raise InvalidCombination("A configuration has exactly one member: that of the component's type.")
    if wanted not in given:
        (other,) = given
        raise InvalidCombination(f"A component of the type {wanted} cannot have the configuration of {other}.")


CREATING = Status(code="STUDIO_COMPONENT_CREATE_IN_PROGRESS", message="The studio component is being created.")
UPDATING = Status(code="STUDIO_COMPONENT_UPDATE_IN_PROGRESS", message="The studio component is being updated.")
DELETING = Status(code="STUDIO_COMPONENT_DELETE_IN_PROGRESS", message="The studio component is being deleted.")
_CREATED = Status(code="STUDIO_COMPONENT_CREATED", message="The studio component was created.")
UPDATED = Status(code="STUDIO_COMPONENT_UPDATED", message="The studio component was updated.")
_DELETED = Status(code="STUDIO_COMPONENT_DELETED", message="The studio component was deleted.")
_ALREADY = Status(
    code="ACTIVE_DIRECTORY_ALREADY_EXISTS",
    message="The studio has an Active Directory component, and may have one only.",
)


def settle_component(component: StudioComponent, *, has_directory: bool) -> tuple[ResourceEvent, Status]:
    """Return how a change in progress ends. `has_directory`: another component of the studio is an Active Directory."""
    if component.state is ResourceState.CREATE_IN_PROGRESS:
        if component.type is ComponentType.ACTIVE_DIRECTORY and has_directory:
            return ResourceEvent.FAILED, _ALREADY
        return ResourceEvent.SUCCEEDED, _CREATED
    return ResourceEvent.SUCCEEDED, _DELETED if component.state is ResourceState.DELETE_IN_PROGRESS else UPDATED
