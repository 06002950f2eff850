"""What talks over sockets is tested on both event loops: production runs uvloop, other people's programs asyncio's own."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

ON_BOTH_LOOPS = frozenset({"test_agent_sockets", "test_simulated"})


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    module = getattr(item, "module", None)
    if module is not None and module.__name__ in ON_BOTH_LOOPS:
        factories["uvloop"] = uvloop.new_event_loop
    return factories
