"""One operation in one protocol: bytes to typed request, typed result to bytes."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from fanlight.api.protocol import ec2_query, json_1_0, json_1_1, query, rest_json, rpc_v2_cbor
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.readers import Names, ReaderCompiler, Scalars
from fanlight.api.protocol.validate import refuse
from fanlight.api.protocol.writers import ScalarWriters, WriterCompiler


class Payload(Hashable, Protocol):
    """What a request says: its body, or for REST what stands in path, query, headers and body (`RestRequest`)."""

    def __len__(self) -> int: ...


class BothScalars(Scalars, ScalarWriters, Protocol):
    """What each protocol module's `Scalars` provides."""


class Wire(Protocol):
    """What each protocol module provides."""

    NAME: str
    Scalars: type[BothScalars]

    def decoder(self, operation: Any) -> Callable[[Any], Any]:
        """Return what turns the payload of a request, in this protocol's form, into a tree of wire names."""
        ...

    def encoder(self, operation: Any) -> Callable[[Any], bytes]:
        """Return what turns the tree of a result into bytes that depend on nothing else."""
        ...

    def envelope(self, operation: Any, body: bytes, request_id: str) -> bytes:
        """Return the whole answer for what the encoder gave."""
        ...

    def spelled(self, error: WireError) -> WireError:
        """Return the error under the code that this protocol has for it."""
        ...

    def encode_error(self, error: WireError, shape_id: str, request_id: str) -> bytes: ...
    def response_headers(self, error_code: str | None) -> dict[str, str]: ...


# Modules as a Protocol: their class attribute is a class, not a variable.
JSON: Wire = json_1_1  # type: ignore[assignment]
JSON_1_0: Wire = json_1_0  # type: ignore[assignment]
CBOR: Wire = rpc_v2_cbor  # type: ignore[assignment]
QUERY: Wire = query  # type: ignore[assignment]
EC2: Wire = ec2_query  # type: ignore[assignment]
REST: Wire = rest_json  # type: ignore[assignment]


class OperationCodec:
    """Made once per operation and protocol; holds closures only, so it may serve any number of requests at once."""

    def __init__(self, wire: Wire, operation: Any, readers: ReaderCompiler, writers: WriterCompiler) -> None:
        """Compile reader and writer of a botocore operation model."""
        self._wire, self._operation = wire, operation
        self._decode, self._encode = wire.decoder(operation), wire.encoder(operation)
        self._read = None if operation.input_shape is None else readers.compile(operation.input_shape)
        self._write = None if operation.output_shape is None else writers.compile(operation.output_shape)

    def read_request(self, payload: Payload) -> Any:
        """Return the typed request. Raises WireError: SerializationException, or ValidationException naming all faults."""
        tree = self._decode(payload)
        if self._read is None:
            return None
        faults: list[str] = []
        request = self._read(tree, "", faults)
        if faults:
            raise refuse(faults)
        return request

    def write_result(self, result: Any) -> bytes:
        """Return the inside of the answer; a result without members is an empty object, never an empty body."""
        return self._encode({} if self._write is None else self._write(result))

    def seal(self, inside: bytes, request_id: str) -> bytes:
        """Return the body of the answer to one request."""
        return self._wire.envelope(self._operation, inside, request_id)


def compile_operations(
    wire: Wire, operations: Mapping[str, Any], names: Names, attribute: Callable[[str], str]
) -> dict[str, OperationCodec]:
    """Return the codecs of all `operations` (botocore models by name), sharing what their shapes share."""
    scalars = wire.Scalars()
    readers, writers = ReaderCompiler(names, scalars), WriterCompiler(attribute, scalars)
    return {name: OperationCodec(wire, operation, readers, writers) for name, operation in operations.items()}
