"""What only the agent of an image builder does: serve the Image Assistant, ask for images, prepare for the snapshot."""

from collections.abc import Callable, Coroutine, Sequence

from fanlight.agent.accounts import Seat
from fanlight.agent.assistant_server import AssistantServer
from fanlight.agent.image_requests import ImageRequests
from fanlight.agent.instance import InstanceLife
from fanlight.agent.preparation import Preparation, end_everything_and_clean
from fanlight.agent.processes import Processes
from fanlight.agent.sessions import SeatLife
from fanlight.agent.trials import Trials
from fanlight.agentwire.messages import ImageAnswer, PrepareSnapshot


class BuilderSide:
    """Does nothing before `start`, which is called in image builders alone. `opened` are all seats so far."""

    def __init__(
        self,
        life: InstanceLife,
        processes: Processes,
        opened: Callable[[], Sequence[SeatLife]],
        in_background: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self.requests = ImageRequests()
        self._life, self._opened, self._in_background = life, opened, in_background
        self._trials = Trials(processes, self._current)
        self._preparation: Preparation | None = None

    def start(self) -> None:
        self._preparation = Preparation(
            self._life.close,
            prepared=self._life.become_prepared,
            failed=self._life.fail,
            in_background=self._in_background,
            clean=end_everything_and_clean,
        )
        self._in_background(AssistantServer(self.requests, self._trials.start).run())

    def handle(self, message: ImageAnswer | PrepareSnapshot) -> None:
        if isinstance(message, ImageAnswer):
            self.requests.handle(message)
        elif self._preparation is not None:
            self._preparation.ask()

    def _current(self) -> tuple[Seat, SeatLife] | None:
        return next(((life.seat, life) for life in reversed(self._opened()) if life.is_in_session), None)
