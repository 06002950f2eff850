"""The listener of the API: one aiohttp application for all services and protocols, and nothing else on it.

A request goes through: route (`api.routes`) → body (bounded in size and time) → signature → dispatch → audit.
Whatever happens, the answer has a request id and, if it is a refusal, a code that AWS clients know.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from aiohttp import web

from fanlight.api.audit import ApiCall, AuditLog, recorded_members
from fanlight.api.aws_services import AwsService
from fanlight.api.dispatch import Dispatcher, Outcome
from fanlight.api.kept import Revision, UntilChanged, unknown_revision
from fanlight.api.protocol.errors import WireError, malformed
from fanlight.api.protocol.sigv4 import SignedRequest, Verifier
from fanlight.api.routes import Route, Router
from fanlight.api.throttling import Throttle
from fanlight.domain.access_keys import AccessKey, Caller
from fanlight.domain.errors import DomainError
from fanlight.forwarding import networks, source_of

log = logging.getLogger(__name__)
ServicesT = TypeVar("ServicesT")
FindKey = Callable[[str], Awaitable[AccessKey | None]]

HINT = (
    b'{"service":"Fanlight","message":"This is an AppStream 2.0 compatible API endpoint for AWS clients, '
    b'not a page for browsers. Run: eval \\"$(fanlight env)\\", then use boto3 or the AWS CLI."}\n'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """What the listener must know. `trusted_proxies`: addresses and networks whose X-Forwarded-For is believed."""

    regions: tuple[str, ...]
    max_clock_skew: timedelta = timedelta(minutes=15)
    trusted_proxies: tuple[str, ...] = ()
    body_limit_in_bytes: int = 1024 * 1024  # the largest lawful request of the model has some hundred kilobytes
    body_timeout: timedelta = timedelta(seconds=20)
    handler_timeout: timedelta = timedelta(seconds=60)
    reads_per_second: float = 0.0  # of each key, before it is throttled; 0: never
    writes_per_second: float = 0.0
    is_strict: bool = False  # tests: an error that an operation does not declare fails loudly


@dataclass(slots=True)
class _Exchange:
    """One request on its way; filled in step by step, so that the audit log knows as much as we do."""

    request_id: str
    source_address: str
    route: Route
    caller: Caller | None = None
    outcome: Outcome = field(default_factory=Outcome)
    started: float = field(default_factory=time.perf_counter)


def make_api_app(
    aws_services: Sequence[AwsService[ServicesT]],
    services: ServicesT,
    find_key: FindKey,
    settings: ApiSettings,
    audit: AuditLog,
    *,
    revision: Revision = unknown_revision,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> web.Application:
    """Return the application. Raises RegistryIncomplete when an operation of a model has no answer.

    The first service is the one that texts speak of when nobody knows which was meant. `revision` is
    `Transactions.revision`; without it, every request asks the store for its key and its answer.
    """
    dispatchers = {
        service.name: Dispatcher(service, services, revision=revision, is_strict=settings.is_strict)
        for service in aws_services
    }
    keys: UntilChanged[str, AccessKey | None] = UntilChanged(revision)
    verifier = Verifier(
        regions=frozenset(settings.regions),
        max_clock_skew=settings.max_clock_skew,
        find_key=lambda key_id: keys.get(key_id, lambda: find_key(key_id)),
        now=now,
    )
    listener = _Listener(Router(aws_services), dispatchers, verifier, settings, audit)
    app = web.Application(client_max_size=settings.body_limit_in_bytes)
    app.router.add_route("*", "/{tail:.*}", listener.handle)
    return app


def make_api_runner(app: web.Application, *, shutdown_timeout: timedelta = timedelta(seconds=3)) -> web.AppRunner:
    """Return what serves the application: bodies stay as they came, and a refused upload is not read to its end."""
    return web.AppRunner(
        app,
        access_log=None,  # the audit log has every call
        auto_decompress=False,
        lingering_time=0.5,
        keepalive_timeout=75,
        shutdown_timeout=shutdown_timeout.total_seconds(),
    )


class _Listener:
    def __init__(
        self,
        router: Router,
        dispatchers: Mapping[str, Dispatcher[Any]],
        verifier: Verifier[AccessKey],
        settings: ApiSettings,
        audit: AuditLog,
    ) -> None:
        self._router, self._dispatchers = router, dispatchers
        self._verifier, self._settings, self._audit = verifier, settings, audit
        self._trusted_proxies = networks(settings.trusted_proxies)
        self._throttle = Throttle(
            reads_per_second=settings.reads_per_second, writes_per_second=settings.writes_per_second
        )

    async def handle(self, request: web.Request) -> web.Response:
        if request.method in ("GET", "HEAD") and request.rel_url.raw_path in ("/", "/healthz"):
            body = HINT if request.rel_url.raw_path == "/" else b'{"status":"ok"}\n'
            return web.Response(body=body, content_type="application/json", headers={"Server": "Fanlight"})
        exchange = _Exchange(str(uuid.uuid4()), self._source_address(request), self._router.begin(request))
        status, code, headers = 200, "", {}
        try:
            body = await self._answer(request, exchange)
            status = exchange.route.status
        except WireError as error:
            refusal = exchange.route.refusal(error, exchange.request_id)
            status, code, body, headers = refusal.status, refusal.code, refusal.body, refusal.headers
        response = web.Response(
            status=status,
            body=body,
            headers={
                **exchange.route.wire.response_headers(code or None),
                **headers,
                "x-amzn-RequestId": exchange.request_id,
                "Server": "Fanlight",
            },
        )
        if status in (408, 413):  # the rest of the body would be taken for the next request
            response.force_close()
        self._record(exchange, status, code)
        return response

    async def _answer(self, request: web.Request, exchange: _Exchange) -> bytes:
        """Return the body of a successful answer. Raises WireError for everything else, whatever it was."""
        dispatcher = self._dispatchers[exchange.route.service.name]
        try:
            self._router.check(request, exchange.route)
            body = await self._body(request)
            exchange.caller = caller = await self._verify(request, body, exchange)
            self._router.find_operation(exchange.route, body)  # a form is costly to read: not for strangers
            self._throttle.admit(caller.access_key_id, exchange.route.operation)
            async with asyncio.timeout(self._settings.handler_timeout.total_seconds()):
                return await dispatcher.dispatch(
                    exchange.route.wire,
                    exchange.route.operation,
                    exchange.route.payload(request, body),
                    caller,
                    exchange.outcome,
                )
        except WireError:
            raise
        except DomainError as error:
            raise dispatcher.error_for(error) from error
        except TimeoutError:
            log.warning("a request took too long", extra=self._fields(exchange))
            raise WireError("ServiceUnavailable", "The request took too long. Try again.") from None
        except ConnectionResetError:
            raise  # the client is gone; aiohttp knows what to do
        except Exception as error:
            log.exception("a request failed", extra=self._fields(exchange))
            raise WireError(
                "InternalFailure", "An internal error occurred. The log has it by its request id."
            ) from error

    async def _body(self, request: web.Request) -> bytes:
        """Return the body. Raises RequestEntityTooLarge, RequestTimeout or MalformedHttpRequest."""
        limit = self._settings.body_limit_in_bytes
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise malformed("Compressed request bodies are not accepted. Send the body as it is.")
        too_large = WireError("RequestEntityTooLargeException", f"A request body may have at most {limit} bytes.")
        if (request.content_length or 0) > limit:
            raise too_large
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._settings.body_timeout.total_seconds()):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    if size > limit:
                        raise too_large
                    chunks.append(chunk)
        except TimeoutError:
            raise WireError("RequestTimeoutException", "The request body did not arrive in time.") from None
        except (web.HTTPException, ValueError) as error:
            raise malformed("The request body could not be read.") from error
        return b"".join(chunks)

    async def _verify(self, request: web.Request, body: bytes, exchange: _Exchange) -> Caller:
        headers: dict[str, list[str]] = {}
        for name, value in request.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        signed = SignedRequest(
            request.method, request.rel_url.raw_path, request.rel_url.raw_query_string, headers, body
        )
        verified = await self._verifier.verify(signed, exchange.route.service.signing_name)
        return Caller(
            verified.key.access_key_id,
            verified.key.account_id,
            verified.region,
            exchange.request_id,
            exchange.source_address,
            verified.key.policy,
            verified.key.person,
        )

    def _source_address(self, request: web.Request) -> str:
        return source_of(request.remote or "", request.headers.getall("X-Forwarded-For", []), self._trusted_proxies)

    def _record(self, exchange: _Exchange, status: int, code: str) -> None:
        caller = exchange.caller
        self._audit.record_call(
            ApiCall(
                request_id=exchange.request_id,
                service=exchange.route.service.name,
                operation=exchange.route.operation,
                protocol=exchange.route.wire.NAME,
                account_id=caller.account_id if caller else "",
                access_key_id=caller.access_key_id if caller else "",
                region=caller.region if caller else "",
                source_address=exchange.source_address,
                status=status,
                error_code=code,
                duration_in_ms=round((time.perf_counter() - exchange.started) * 1000, 2),
                resources=recorded_members(exchange.outcome.request),
            )
        )

    def _fields(self, exchange: _Exchange) -> Mapping[str, str]:
        return {"operation": exchange.route.operation, "request_id": exchange.request_id}
