"""One operation in one protocol: bytes to typed request, typed result to bytes."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fanlight.api.protocol import json_1_1, rpc_v2_cbor
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.readers import Names, ReaderCompiler, Scalars
from fanlight.api.protocol.validate import refuse
from fanlight.api.protocol.writers import ScalarWriters, WriterCompiler


class BothScalars(Scalars, ScalarWriters, Protocol):
    """What each protocol module's `Scalars` provides."""


class Wire(Protocol):
    """What each protocol module provides."""

    NAME: str
    Scalars: type[BothScalars]

    def decode(self, body: bytes) -> Any: ...
    def encode(self, tree: Any) -> bytes: ...
    def encode_error(self, error: WireError, shape_id: str) -> bytes: ...
    def response_headers(self, error_code: str | None) -> dict[str, str]: ...


JSON: Wire = json_1_1  # type: ignore[assignment]  # a module as a Protocol: its class attribute is a class, not a variable
CBOR: Wire = rpc_v2_cbor  # type: ignore[assignment]


class OperationCodec:
    """Made once per operation and protocol; holds closures only, so it may serve any number of requests at once."""

    def __init__(self, wire: Wire, operation: Any, readers: ReaderCompiler, writers: WriterCompiler) -> None:
        """Compile reader and writer of a botocore operation model."""
        self._wire = wire
        self._read = None if operation.input_shape is None else readers.compile(operation.input_shape)
        self._write = None if operation.output_shape is None else writers.compile(operation.output_shape)

    def read_request(self, body: bytes) -> Any:
        """Return the typed request. Raises WireError: SerializationException, or ValidationException naming all faults."""
        tree = self._wire.decode(body)
        if self._read is None:
            return None
        faults: list[str] = []
        request = self._read(tree, "", faults)
        if faults:
            raise refuse(faults)
        return request

    def write_result(self, result: Any) -> bytes:
        """Return the body of the answer; a result without members is an empty object, never an empty body."""
        return self._wire.encode({} if self._write is None else self._write(result))


def compile_operations(
    wire: Wire, operations: Mapping[str, Any], names: Names, attribute: Callable[[str], str]
) -> dict[str, OperationCodec]:
    """Return the codecs of all `operations` (botocore models by name), sharing what their shapes share."""
    scalars = wire.Scalars()
    readers, writers = ReaderCompiler(names, scalars), WriterCompiler(attribute, scalars)
    return {name: OperationCodec(wire, operation, readers, writers) for name, operation in operations.items()}
