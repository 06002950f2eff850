"""The end of tasks that work in the background."""

import asyncio


async def end(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has ended; raises what it raised.

    A cancellation of the caller is the caller's: unlike one of the task it is not swallowed, and the task ends by itself.
    """
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
