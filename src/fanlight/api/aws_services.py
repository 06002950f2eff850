"""What one AWS service on the listener is: its model, its handlers, its types and its codes.

A service is found by what its clients send: the prefix of X-Amz-Target (JSON), the name in the path (rpc-v2-cbor), or
the service in the scope of the signature (query and EC2 forms).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType, ModuleType
from typing import Any, Generic, TypeVar

from botocore.model import ServiceModel

from fanlight.api.authorization import Demands, PersonMay, nothing_for_people
from fanlight.api.errors import COMMON_CODES, WireCodes
from fanlight.api.protocol.errors import COMMON_STATUS, WireError
from fanlight.api.protocol.operations import (
    CBOR,
    EC2,
    JSON,
    JSON_1_0,
    QUERY,
    REST,
    OperationCodec,
    Wire,
    compile_operations,
)
from fanlight.api.protocol.rest_json import Paths
from fanlight.api.registry import NotBuilt, Registry
from fanlight.api.spec import attribute_name, is_sensitive, service_model
from fanlight.domain.errors import DomainError

ServicesT = TypeVar("ServicesT")
DEFAULT_STATUS = 400
UNBUILT = "UnsupportedOperation"


def no_context(error: DomainError) -> Mapping[str, str]:  # noqa: ARG001
    """For services whose errors have no members but the text."""
    return {}


class GeneratedNames:
    """Ties the shapes of a model to the types generated from it."""

    def __init__(self, types: ModuleType) -> None:
        self._types = types

    def attribute(self, member: str) -> str:
        return attribute_name(member)

    def structure(self, shape: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(self._types, shape)
        return found

    def enum(self, shape: str) -> Callable[[str], Any]:
        found: Callable[[str], Any] = getattr(self._types, shape)
        return found

    def is_sensitive(self, structure: str, member: str, shape: Any) -> bool:
        return is_sensitive(structure, member, shape)


@dataclass(frozen=True, kw_only=True)
class AwsService(Generic[ServicesT]):
    """One service. `name` is botocore's name of the model, `types` the module generated from it."""

    name: str
    registry: Registry[ServicesT]
    types: ModuleType
    demands: Demands  # what policies of keys must allow
    person_may: PersonMay = nothing_for_people  # what keys of people may do
    namespace: str  # what full shape ids start with on the CBOR wire
    codes: WireCodes = field(default_factory=lambda: COMMON_CODES)
    modelled_status: int | None = None
    """The status of every modelled error; None: as the model has it."""
    unmodelled_codes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Codes and status of errors that the service has and its model does not list."""
    respelled: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Common errors that this service answers under a code of its own, in whatever protocol."""

    context_of: Callable[[DomainError], Mapping[str, str]] = no_context
    """What the errors of this service say beside their text."""

    @cached_property
    def model(self) -> ServiceModel:
        return service_model(self.name)

    @cached_property
    def signing_name(self) -> str:
        return str(self.model.metadata.get("signingName") or self.model.metadata["endpointPrefix"])

    @cached_property
    def target_prefix(self) -> str | None:
        """What stands before the operation in X-Amz-Target and in the path of rpc-v2-cbor; None: neither is spoken."""
        prefix = self.model.metadata.get("targetPrefix")
        return None if prefix is None else str(prefix)

    @cached_property
    def wires(self) -> tuple[Wire, ...]:
        json = JSON_1_0 if self.model.metadata.get("jsonVersion") == "1.0" else JSON
        known = {"json": json, "smithy-rpc-v2-cbor": CBOR, "query": QUERY, "ec2": EC2, "rest-json": REST}
        protocols = self.model.metadata["protocols"]
        return tuple(known[protocol] for protocol in protocols if protocol in known)

    @cached_property
    def form_wire(self) -> Wire | None:
        return next((wire for wire in self.wires if wire in (QUERY, EC2)), None)

    @cached_property
    def json_wire(self) -> Wire | None:
        return next((wire for wire in self.wires if wire in (JSON, JSON_1_0)), None)

    @cached_property
    def paths(self) -> Paths | None:
        """The paths of the operations, for a service that tells them by path."""
        names = self.model.operation_names
        return Paths({name: self.model.operation_model(name) for name in names}) if REST in self.wires else None

    @cached_property
    def codecs(self) -> Mapping[str, Mapping[str, OperationCodec]]:
        """The codecs of the operations that are built, by protocol and operation. To compile them takes a while."""
        operations = {name: self.model.operation_model(name) for name in self.registry.built}
        names = GeneratedNames(self.types)
        return {wire.NAME: compile_operations(wire, operations, names, attribute_name) for wire in self.wires}

    @cached_property
    def speaks_cbor(self) -> bool:
        return CBOR in self.wires

    def knows(self, operation: str) -> bool:
        return operation in self.registry.built or operation in self.registry.not_built

    def declared(self, operation: str) -> frozenset[str]:
        """Return the codes that the operation may answer beside the common ones."""
        shapes = self.model.operation_model(operation).error_shapes
        return frozenset(shape.name for shape in shapes) | self.unmodelled_codes.keys()

    def unbuilt_code(self, operation: str) -> str:
        """Return what an operation answers that is not built: the one code outside an operation's list and the common errors."""
        fitting = "OperationNotPermittedException"
        return fitting if fitting in self.declared(operation) else UNBUILT

    def error(self, code: str, message: str, *, context: Mapping[str, str] | None = None) -> WireError:
        """Return a refusal under its code in this service, with the status that belongs to it."""
        code = self.respelled.get(code, code)
        return WireError(code, message, status=self._status(code), context=context)

    def _status(self, code: str) -> int:
        if code in self.unmodelled_codes:
            return self.unmodelled_codes[code]
        modelled = self._trait(code).get("httpStatusCode")
        if code in COMMON_STATUS and not (modelled and REST in self.wires):
            return COMMON_STATUS[code]
        return int(self.modelled_status or modelled or DEFAULT_STATUS)

    def query_code(self, code: str) -> str:
        """Return what a modelled error is called in the query protocol."""
        return str(self._trait(code).get("code", code))

    def shape_id(self, code: str) -> str:
        """Return the full shape id of an error code, as the CBOR wire spells it."""
        return f"{self.namespace}#{code}"

    def _trait(self, code: str) -> Mapping[str, Any]:
        return self._traits.get(code, {})

    @cached_property
    def _traits(self) -> Mapping[str, Mapping[str, Any]]:
        return {shape.name: shape.metadata.get("error", {}) for shape in self.model.error_shapes}


def everything_else(name: str, built: tuple[str, ...]) -> tuple[NotBuilt, ...]:
    """Return the refusals of all operations of a model but those that are built."""
    model = service_model(name)
    because = f"Fanlight answers of {model.metadata['serviceFullName']} only {', '.join(built)}."
    return tuple(NotBuilt(operation, because) for operation in model.operation_names if operation not in built)
