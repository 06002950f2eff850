"""Which tests may run side by side, when `scripts/test` and `scripts/check` run several workers (pytest-xdist).

Files that need the engine or a browser share one installation and one set of fleets: they stay on one worker, in their
order, and go before the others in the use of the processors. Each other file is a group of its own.
"""

import functools
import os
import re
from pathlib import Path
from typing import Any

import pytest

ENGINE = "engine"
_NEEDS_ENGINE = re.compile(r"pytest\.mark\.(incus|browser)\b")
_ROOT = Path(__file__).parents[1]
_NICENESS = 5  # of tests beside the engine's: what a person would wait for has patience of its own


@functools.cache
def group_of(path: str) -> str:
    """Return the group of a file. Told from its text: who hands out the work knows no marks, only names."""
    return ENGINE if _NEEDS_ENGINE.search((_ROOT / path).read_text()) else path


def _group(nodeid: str) -> str:
    return group_of(nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        """Hands out whole groups."""

        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    config.option.loadscopereorder = False  # as sorted below
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest group begins first; the order within a group stays."""
    items.sort(key=lambda item: _group(item.nodeid) != ENGINE)


def pytest_runtest_setup(item: pytest.Item) -> None:
    is_beside_others = "PYTEST_XDIST_WORKER" in os.environ and _group(item.nodeid) != ENGINE
    if is_beside_others and _group(item.session.items[0].nodeid) == ENGINE and os.nice(0) < _NICENESS:
        os.nice(_NICENESS)
