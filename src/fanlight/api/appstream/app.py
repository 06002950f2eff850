"""The listener of the API: one aiohttp application for both protocols, and nothing else on it.

A request goes through: route (X-Amz-Target or path) → body (bounded in size and time) → signature → dispatch → audit.
Whatever happens, the answer has a request id and, if it is a refusal, a code that AWS clients know.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from aiohttp import web

from fanlight.api.appstream.dispatch import Dispatcher, Outcome, shape_id
from fanlight.api.appstream.kept import Revision, UntilChanged, unknown_revision
from fanlight.api.appstream.registry import Registry
from fanlight.api.audit import ApiCall, AuditLog, recorded_members
from fanlight.api.protocol.errors import WireError, malformed
from fanlight.api.protocol.operations import CBOR, JSON, Wire
from fanlight.api.protocol.rpc_v2_cbor import NAME as CBOR_NAME
from fanlight.api.protocol.rpc_v2_cbor import PROTOCOL_HEADER
from fanlight.api.protocol.sigv4 import SignedRequest, Verifier
from fanlight.api.spec import appstream_model
from fanlight.domain.access_keys import AccessKey, Caller
from fanlight.domain.errors import DomainError
from fanlight.forwarding import networks, source_of

log = logging.getLogger(__name__)
ServicesT = TypeVar("ServicesT")
FindKey = Callable[[str], Awaitable[AccessKey | None]]

SIGNING_NAME = "appstream"
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
    is_strict: bool = False  # tests: an error that an operation does not declare fails loudly


@dataclass(slots=True)
class _Exchange:
    """One request on its way; filled in step by step, so that the audit log knows as much as we do."""

    request_id: str
    source_address: str
    wire: Wire = JSON
    operation: str = ""
    caller: Caller | None = None
    outcome: Outcome = field(default_factory=Outcome)
    started: float = field(default_factory=time.perf_counter)


def make_api_app(
    registry: Registry[ServicesT],
    services: ServicesT,
    find_key: FindKey,
    settings: ApiSettings,
    audit: AuditLog,
    *,
    revision: Revision = unknown_revision,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> web.Application:
    """Return the application. Raises RegistryIncomplete when an operation of the model has no answer.

    `revision` is `Transactions.revision`; without it, every request asks the store for its key and its answer.
    """
    model = appstream_model()
    dispatcher = Dispatcher(registry, services, model, revision=revision, is_strict=settings.is_strict)
    keys: UntilChanged[str, AccessKey | None] = UntilChanged(revision)
    verifier = Verifier(
        service=SIGNING_NAME,
        regions=frozenset(settings.regions),
        max_clock_skew=settings.max_clock_skew,
        find_key=lambda key_id: keys.get(key_id, lambda: find_key(key_id)),
        now=now,
    )
    listener = _Listener(dispatcher, verifier, settings, audit, str(model.metadata["targetPrefix"]))
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
        dispatcher: Dispatcher[ServicesT],
        verifier: Verifier[AccessKey],
        settings: ApiSettings,
        audit: AuditLog,
        target_prefix: str,
    ) -> None:
        self._dispatcher, self._verifier, self._settings, self._audit = dispatcher, verifier, settings, audit
        self._trusted_proxies = networks(settings.trusted_proxies)
        self._target_prefix = f"{target_prefix}."
        self._path_prefix = f"/service/{target_prefix}/operation/"

    async def handle(self, request: web.Request) -> web.Response:
        if request.method in ("GET", "HEAD") and request.rel_url.raw_path in ("/", "/healthz"):
            body = HINT if request.rel_url.raw_path == "/" else b'{"status":"ok"}\n'
            return web.Response(body=body, content_type="application/json", headers={"Server": "Fanlight"})
        exchange = _Exchange(str(uuid.uuid4()), self._source_address(request))
        status, code = 200, ""
        try:
            body = await self._answer(request, exchange)
        except WireError as error:
            status, code = error.status, error.code
            body = exchange.wire.encode_error(error, shape_id(code))
        response = web.Response(
            status=status,
            body=body,
            headers={
                **exchange.wire.response_headers(code or None),
                "x-amzn-RequestId": exchange.request_id,
                "Server": "Fanlight",
            },
        )
        if code in ("RequestEntityTooLargeException", "RequestTimeoutException"):
            response.force_close()
        self._record(exchange, status, code)
        return response

    async def _answer(self, request: web.Request, exchange: _Exchange) -> bytes:
        """Return the body of a successful answer. Raises WireError for everything else, whatever it was."""
        try:
            self._route(request, exchange)
            body = await self._body(request)
            exchange.caller = caller = await self._verify(request, body, exchange)
            async with asyncio.timeout(self._settings.handler_timeout.total_seconds()):
                return await self._dispatcher.dispatch(
                    exchange.wire, exchange.operation, body, caller, exchange.outcome
                )
        except WireError:
            raise
        except DomainError as error:
            raise self._dispatcher.error_for(error) from error
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

    def _route(self, request: web.Request, exchange: _Exchange) -> None:
        """Find protocol and operation. Raises UnknownOperationException, in the protocol that was meant if that is clear."""
        path = request.rel_url.raw_path
        if request.headers.get(PROTOCOL_HEADER) == CBOR_NAME:
            exchange.wire = CBOR
        if path.startswith(self._path_prefix):
            exchange.wire = CBOR
            name = path.removeprefix(self._path_prefix)
        elif path == "/":
            target = request.headers.get("X-Amz-Target", "")
            name = target.removeprefix(self._target_prefix) if target.startswith(self._target_prefix) else ""
        else:
            name = ""
        if request.method != "POST" or not self._dispatcher.knows(name):
            raise WireError(
                "UnknownOperationException",
                f"No such operation. POST to / with the header X-Amz-Target: {self._target_prefix}<Operation>, "
                f"or to {self._path_prefix}<Operation>.",
            )
        exchange.operation = name
        if exchange.wire is CBOR and request.headers.get(PROTOCOL_HEADER) != CBOR_NAME:
            raise malformed(f"This path needs the header {PROTOCOL_HEADER}: {CBOR_NAME}.")
        if exchange.wire is CBOR and path == "/":
            raise malformed(f"The protocol {CBOR_NAME} has its own path: {self._path_prefix}{name}.")

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
        verified = await self._verifier.verify(signed)
        return Caller(
            verified.key.access_key_id,
            verified.key.account_id,
            verified.region,
            exchange.request_id,
            exchange.source_address,
        )

    def _source_address(self, request: web.Request) -> str:
        return source_of(request.remote or "", request.headers.getall("X-Forwarded-For", []), self._trusted_proxies)

    def _record(self, exchange: _Exchange, status: int, code: str) -> None:
        caller = exchange.caller
        self._audit.record_call(
            ApiCall(
                request_id=exchange.request_id,
                operation=exchange.operation,
                protocol=exchange.wire.NAME,
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
        return {"operation": exchange.operation, "request_id": exchange.request_id}
