"""Deal with what administrators ask of their image builders' agents: one request after the other, each answered.

The guest repeats a request until it hears an answer, so nothing is lost with a connection or with this process.
"""

import asyncio
import contextlib
import logging

from fanlight.domain.errors import AgentUnreachable, DomainError
from fanlight.domain.image_requests import FAILED, ImageAnswer, ImageRequest, ImageRequestHandler
from fanlight.domain.ports import AgentChannel

log = logging.getLogger(__name__)

LIMIT_IN_SECONDS = 60.0
BROKEN = ImageAnswer(status=FAILED, message="The service could not deal with the request. Its log says why.")
TOO_SLOW = ImageAnswer(status=FAILED, message="The service did not deal with the request in time. Try again.")


async def answer_image_requests(agents: AgentChannel, handler: ImageRequestHandler) -> None:
    """Answer until cancelled."""
    async for request in agents.image_requests():
        answer = await _answer_to(request, handler)
        said = {"instance_id": request.instance_id, "status": answer.status, "is_dry_run": request.is_dry_run}
        log.info("image requested by a builder", extra=said)
        with contextlib.suppress(AgentUnreachable):
            await agents.answer(request, answer)


async def _answer_to(request: ImageRequest, handler: ImageRequestHandler) -> ImageAnswer:
    try:
        async with asyncio.timeout(LIMIT_IN_SECONDS):
            return await handler.create_image_from_builder(request)
    except TimeoutError:
        return TOO_SLOW
    except DomainError as error:
        return ImageAnswer(status=FAILED, message=str(error))
    except Exception:
        log.exception("image request failed", extra={"instance_id": request.instance_id})
        return BROKEN
