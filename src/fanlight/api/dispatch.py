"""From an operation and its bytes to the bytes of the answer.

Everything that walks the model happens in the constructor. What a handler raises becomes a code that the operation
declares, or a common one; what nobody expected becomes InternalFailure, with the traceback in the log and none of it in
the answer.
"""

import logging
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fanlight.api.authorization import refusal, refusal_of_person
from fanlight.api.aws_services import AwsService
from fanlight.api.errors import ALWAYS_ANSWERED, OUTAGES, wire_code
from fanlight.api.kept import Revision, UntilChanged, unknown_revision
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import Payload, Wire
from fanlight.api.registry import NotBuilt, Operation
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import DomainError

log = logging.getLogger(__name__)
ServicesT = TypeVar("ServicesT")

LARGEST_KEPT_REQUEST = 2048  # bytes; a describe call with a few names. Keeps the memory of answers small.


class UndeclaredError(Exception):
    """A handler raised a domain error that its `raises` does not list. Only a strict dispatcher minds."""


@dataclass(slots=True)
class Outcome:
    """What became of a request; filled in on the way, read by the audit log."""

    request: Any = None


class Dispatcher(Generic[ServicesT]):
    """Answers the operations of one service in all its protocols. `is_strict` makes undeclared errors fail, for tests."""

    def __init__(
        self,
        service: AwsService[ServicesT],
        services: ServicesT,
        *,
        revision: Revision = unknown_revision,
        is_strict: bool = False,
    ) -> None:
        """Raises RegistryIncomplete unless the registry answers exactly its operations."""
        service.registry.verify_complete(frozenset(service.model.operation_names))
        self.service, self._services, self._is_strict = service, services, is_strict
        self._answers: UntilChanged[tuple[str, str, str, str, Payload], tuple[Any, bytes]] = UntilChanged(revision)
        self._declared = {name: service.declared(name) for name in service.registry.built}
        self._codecs = service.codecs

    async def dispatch(self, wire: Wire, name: str, body: Payload, caller: Caller, outcome: Outcome) -> bytes:
        """Return the body of a successful answer. Raises WireError for everything else."""
        if (not_built := self.service.registry.not_built.get(name)) is not None:
            raise self._refuse_unbuilt(not_built)
        operation = self.service.registry.built[name]
        if caller.policy is not None or caller.person is not None:
            await self._authorize(wire, operation, body, caller, outcome)
        if operation.is_pure_read and len(body) <= LARGEST_KEPT_REQUEST:
            key = (wire.NAME, name, caller.account_id, caller.region, body)
            outcome.request, answer = await self._answers.get(
                key, lambda: self._call(wire, operation, body, caller, outcome)
            )
        else:
            _, answer = await self._call(wire, operation, body, caller, outcome)
        return self._codecs[wire.NAME][name].seal(answer, caller.request_id)

    async def _authorize(
        self, wire: Wire, operation: Operation[Any, ServicesT, Any], body: Payload, caller: Caller, outcome: Outcome
    ) -> None:
        """Raise WireError (AccessDeniedException) unless the policy of the key, and whose it is, allow what is asked."""
        request = outcome.request = self._codecs[wire.NAME][operation.name].read_request(body)
        demands = await self.service.demands(operation.name, request, caller, self._services)
        if caller.policy is not None and (why := refusal(caller.policy, caller, demands)):
            raise self.service.error("AccessDeniedException", why)
        if caller.person is not None and not await self.service.person_may(
            operation.name, request, caller, self._services
        ):
            raise self.service.error("AccessDeniedException", refusal_of_person(caller, demands))

    async def _call(
        self, wire: Wire, operation: Operation[Any, ServicesT, Any], body: Payload, caller: Caller, outcome: Outcome
    ) -> tuple[Any, bytes]:
        """Return the typed request and the inside of the answer. Raises WireError."""
        codec = self._codecs[wire.NAME][operation.name]
        request = outcome.request = codec.read_request(body)
        try:
            result = await operation(request, caller, self._services)
        except DomainError as error:
            raise self._refuse(operation, error) from error
        return request, codec.write_result(result)

    def error_for(self, error: DomainError) -> WireError:
        """Return the refusal for an error outside any operation (the key store is away, for one)."""
        return self.service.error(wire_code(type(error), (), self.service.codes), _text_of(error))

    def _refuse_unbuilt(self, entry: NotBuilt) -> WireError:
        code = self.service.unbuilt_code(entry.name)
        return self.service.error(code, f"{entry.name} is not available: {entry.because}")

    def _refuse(self, operation: Operation[Any, Any, Any], error: DomainError) -> WireError:
        if not isinstance(error, (*operation.raises, *ALWAYS_ANSWERED)):
            if self._is_strict:
                raise UndeclaredError(f"{operation.name} raised {type(error).__name__}, which its `raises` lacks.")
            log.warning(
                "a handler raised an error that it does not declare",
                extra={"operation": operation.name, "error": type(error).__name__},
            )
        code = wire_code(type(error), self._declared[operation.name], self.service.codes)
        return self.service.error(code, _text_of(error), context=self.service.context_of(error))


def _text_of(error: DomainError) -> str:
    if isinstance(error, OUTAGES):
        log.warning("a part behind the API is away", extra={"error": type(error).__name__, "reason": str(error)})
        return "The service is not available at the moment. Try again."
    return str(error)
