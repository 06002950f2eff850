"""The image requests of this builder on their way to the host: sent until they are answered, one after the other."""

import asyncio
from collections.abc import Sequence

from fanlight.agentwire.messages import ImageAnswer, ImageRequestPart, Message

ANSWER_LIMIT_IN_SECONDS = 90.0
PAUSE_IN_SECONDS = 1.0  # between requests: the host drops whom it hears too often
NO_ANSWER = ImageAnswer(
    request_id="", status=255, message="The service does not answer. Look whether the image is there, and try again."
)


class ImageRequests:
    def __init__(self, *, limit_in_seconds: float = ANSWER_LIMIT_IN_SECONDS, pause: float = PAUSE_IN_SECONDS) -> None:
        self.is_waiting = asyncio.Event()  # there is something to send
        self._limit, self._pause = limit_in_seconds, pause
        self._turn = asyncio.Lock()
        self._parts: Sequence[Message] = ()
        self._answer: asyncio.Future[ImageAnswer] | None = None
        self._request_id = ""

    async def ask(self, request_id: str, texts: Sequence[str]) -> ImageAnswer:
        """Return the host's answer, or one of our own when there is none."""
        async with self._turn:
            self._parts = [
                ImageRequestPart(request_id=request_id, number=number, total=len(texts), text=text)
                for number, text in enumerate(texts)
            ]
            self._request_id = request_id
            answer: asyncio.Future[ImageAnswer] = asyncio.get_running_loop().create_future()
            self._answer = answer
            self.is_waiting.set()
            try:
                async with asyncio.timeout(self._limit):
                    return await answer
            except TimeoutError:
                return NO_ANSWER
            finally:
                self._forget()
                await asyncio.sleep(self._pause)

    def handle(self, message: ImageAnswer) -> None:
        if self._answer is not None and not self._answer.done() and message.request_id == self._request_id:
            self._answer.set_result(message)
            self._forget()

    async def until_over(self) -> None:
        """Return when the request that is under way needs no sending any more."""
        if self._answer is not None:
            await asyncio.wait({self._answer})

    def _forget(self) -> None:
        self._parts, self._answer, self._request_id = (), None, ""
        self.is_waiting.clear()

    def unanswered(self) -> Sequence[Message]:
        """Return what the host has to be told, again on every new connection."""
        return self._parts
