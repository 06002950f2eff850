"""Which service, protocol and operation a request means, from its head alone where that can be.

A form names its operation in the body, so there it is known later than the service. What is meant by junk is guessed, so
that the refusal comes in a protocol that its sender may understand; the guess answers nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from fanlight.api.aws_services import AwsService
from fanlight.api.protocol.errors import WireError, malformed
from fanlight.api.protocol.forms import action_of
from fanlight.api.protocol.operations import CBOR, EC2, JSON, QUERY, REST, Payload, Wire
from fanlight.api.protocol.query import FORM
from fanlight.api.protocol.rest_json import Pairs, RestRequest, member_headers
from fanlight.api.protocol.rpc_v2_cbor import NAME as CBOR_NAME
from fanlight.api.protocol.rpc_v2_cbor import PROTOCOL_HEADER

PATH_START = "/service/"
PATH_MIDDLE = "/operation/"


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    code: str
    body: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Route:
    """Where a request goes. `operation` is empty as long as it is not known to exist."""

    service: AwsService[Any]
    wire: Wire
    is_service_known: bool
    asked: str = ""
    operation: str = ""
    labels: Pairs = ()
    """What stands in the path of a REST request, undecoded."""

    @property
    def status(self) -> int:
        """The status of success."""
        if self.wire is not REST:
            return 200
        return int(self.service.model.operation_model(self.operation).http["responseCode"])

    def payload(self, request: web.Request, body: bytes) -> Payload:
        """Return what the operation is to read. The operation must be known."""
        if self.wire is not REST:
            return body
        named = member_headers(self.service.model.operation_model(self.operation))
        headers = tuple((name, value) for name in named if (value := request.headers.get(name)) is not None)
        return RestRequest(self.labels, request.rel_url.raw_query_string, headers, body)

    def refusal(self, error: WireError, request_id: str) -> Refusal:
        """Return the error in the words of this service and protocol."""
        shape = error.code
        if self.wire is REST:
            error = self.service.error(error.code, error.message, context=error.context)
        elif error.code in self.service.respelled:
            error = WireError(self.service.respelled[error.code], error.message, status=error.status)
        if self.wire in (QUERY, EC2):
            error = WireError(self.service.query_code(error.code), error.message, status=error.status)
        spelled = self.wire.spelled(error)
        headers = {}
        if self.service.model.metadata.get("awsQueryCompatible") is not None and self.wire is not QUERY:
            fault = "Receiver" if spelled.status >= 500 else "Sender"  # noqa: PLR2004 - the server's fault
            headers["x-amzn-query-error"] = f"{self.service.query_code(shape)};{fault}"
        body = self.wire.encode_error(spelled, self.service.shape_id(spelled.code), request_id)
        return Refusal(spelled.status, spelled.code, body, headers)


class Router:
    """Finds services. The first one is taken where nobody can say which is meant."""

    def __init__(self, services: Sequence[AwsService[Any]]) -> None:
        self._services = tuple(services)
        self._by_target = {service.target_prefix: service for service in services if service.target_prefix}
        self._by_scope = {service.signing_name: service for service in services if service.form_wire}
        self._resting = {service.signing_name: service for service in services if service.paths}
        self._by_start = {start: service for service in services if service.paths for start in service.paths.starts}

    def begin(self, request: web.Request) -> Route:
        """Return where the head of the request points to."""
        path = request.rel_url.raw_path
        if (resting := self._resting_at(request, path)) is not None:
            return self._rest_route(resting, request.method, path)
        if path.startswith(PATH_START):
            prefix, _, name = path.removeprefix(PATH_START).partition(PATH_MIDDLE)
            return self._route(self._by_target.get(prefix), CBOR, name)
        if request.headers.get(PROTOCOL_HEADER) == CBOR_NAME:
            service, name = self._targeted(request)
            return self._route(service, CBOR, name)
        if "X-Amz-Target" not in request.headers and request.headers.get("Content-Type", "").startswith(FORM):
            service = self._by_scope.get(scope_of(request.headers.get("Authorization", "")))
            return self._route(service, service.form_wire or QUERY if service else QUERY, "")
        service, name = self._targeted(request)
        return self._route(service, service.json_wire or JSON if service else JSON, name)

    def check(self, request: web.Request, route: Route) -> None:
        """Raise WireError unless the head is that of a request which may exist."""
        if route.wire is REST:
            if not route.operation:
                raise self._unknown(route)
            return
        path, is_form = request.rel_url.raw_path, route.wire in (QUERY, EC2)
        if request.method != "POST" or not (path == "/" or (route.wire is CBOR and path.startswith(PATH_START))):
            raise self._unknown(route)
        if is_form:
            if not route.is_service_known:
                raise self._unknown_scope(request)
            return
        route.operation = self._operation(route)
        if route.wire is CBOR and request.headers.get(PROTOCOL_HEADER) != CBOR_NAME:
            raise malformed(f"This path needs the header {PROTOCOL_HEADER}: {CBOR_NAME}.")
        if route.wire is CBOR and path == "/":
            where = f"{PATH_START}{route.service.target_prefix}{PATH_MIDDLE}{route.operation}"
            raise malformed(f"The protocol {CBOR_NAME} has its own path: {where}.")

    def find_operation(self, route: Route, body: bytes) -> None:
        """Complete the route of a form. Raises WireError for an operation that the service does not have."""
        if route.wire in (QUERY, EC2):
            route.asked = action_of(body)
            route.operation = self._operation(route)

    def _resting_at(self, request: web.Request, path: str) -> AwsService[Any] | None:
        """Return the service that tells its operations by path, if that is meant: by its path, or by the signature."""
        start = path[: path.find("/", 1) + 1]
        return self._by_start.get(start) or self._resting.get(scope_of(request.headers.get("Authorization", "")))

    def _rest_route(self, service: AwsService[Any], method: str, path: str) -> Route:
        operation, labels = (service.paths.find(method, path) if service.paths else None) or ("", ())
        return Route(service, REST, is_service_known=True, asked=operation, operation=operation, labels=labels)

    def _route(self, service: AwsService[Any] | None, wire: Wire, asked: str) -> Route:
        return Route(service or self._services[0], wire, service is not None, asked)

    def _targeted(self, request: web.Request) -> tuple[AwsService[Any] | None, str]:
        prefix, _, name = request.headers.get("X-Amz-Target", "").rpartition(".")
        return self._by_target.get(prefix), name

    def _operation(self, route: Route) -> str:
        if not (route.is_service_known and route.wire in route.service.wires and route.service.knows(route.asked)):
            raise self._unknown(route)
        return route.asked

    def _unknown(self, route: Route) -> WireError:
        """Return the refusal of an operation that does not exist; it says what does."""
        service = route.service
        ways = []
        if service.target_prefix:
            ways.append(f"POST to / with the header X-Amz-Target: {service.target_prefix}.<Operation>")
        if service.speaks_cbor:
            ways.append(f"to {PATH_START}{service.target_prefix}{PATH_MIDDLE}<Operation>")
        if service.paths:
            ways.append(
                f"a method and a path of its API, which begins with {' or '.join(sorted(service.paths.starts))}"
            )
        if service.form_wire:
            ways.append("POST a form with its Action to /")
        return WireError("UnknownOperationException", f"No such operation. {', or '.join(ways)}.")

    def _unknown_scope(self, request: web.Request) -> WireError:
        if "Authorization" not in request.headers:
            return WireError("MissingAuthenticationTokenException", "Missing Authentication Token")
        served = ", ".join(sorted(self._by_scope))
        return WireError("UnknownOperationException", f"Forms are answered for these services only: {served}.")


def scope_of(authorization: str) -> str:
    """Return the service that a signature claims to be for, unverified; empty when it claims none."""
    _, _, rest = authorization.partition("Credential=")
    parts = rest.split(",")[0].strip().split("/")
    return parts[-2] if len(parts) >= 5 else ""  # noqa: PLR2004 - key/date/region/service/terminator
