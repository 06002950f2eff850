"""Every answer of the control socket that is not a success, in one place: whatever happens, a Refusal comes back."""

import logging
from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fanlight.control.bodies import MalformedBody
from fanlight.controlwire.messages import Refusal, to_json
from fanlight.domain.errors import (
    AgentUnreachable,
    ChangedMeanwhile,
    DomainError,
    DriverUnavailable,
    InvalidCombination,
    NotFound,
    StoreUnavailable,
    UrlRefused,
)
from fanlight.http_peers import uid_of

log = logging.getLogger(__name__)

_STATUS_AND_CODE: dict[type[DomainError], tuple[int, str]] = {
    NotFound: (404, "NOT_FOUND"),
    InvalidCombination: (400, "INVALID"),
    ChangedMeanwhile: (409, "CHANGED"),
    AgentUnreachable: (409, "AGENT_AWAY"),
    StoreUnavailable: (503, "STORE_AWAY"),
    DriverUnavailable: (503, "ENGINE_AWAY"),
}


def refusal(status: int, code: str, message: str, embed_host_domains: tuple[str, ...] = ()) -> web.Response:
    body = to_json(Refusal(code=code, message=message, embed_host_domains=embed_host_domains))
    if not embed_host_domains:
        del body["embed_host_domains"]  # of most refusals there is nothing to say
    return web.json_response(body, status=status)


def refusing(allowed_uids: Collection[int]) -> Middleware:
    """Return the middleware that lets only `allowed_uids` in and turns every error into a Refusal."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        uid = uid_of(request)
        if uid not in allowed_uids:
            log.warning("foreign uid at the control socket", extra={"uid": uid})
            return refusal(403, "FORBIDDEN", "This socket is the gateway's.")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return refusal(error.status, "BAD_REQUEST", f"{error.reason}: {request.method} {request.path}")
        except MalformedBody as error:
            return refusal(400, "MALFORMED", str(error))
        except DomainError as error:
            return _of_domain_error(error)
        except Exception:
            log.exception("control request failed", extra={"path": request.path})
            return refusal(503, "INTERNAL", "Something went wrong here. The log of the api process says what.")

    return middleware


def _of_domain_error(error: DomainError) -> web.Response:
    if isinstance(error, UrlRefused):
        return refusal(403, error.code, str(error))
    status, code = _STATUS_AND_CODE.get(type(error), (409, "REFUSED"))
    return refusal(status, code, str(error))
