"""Which tests may run side by side, when `scripts/test` and `scripts/check` run several workers (pytest-xdist).

Files that share something are a group: they stay on one worker, in their order. What is shared is one installation on
the engine with its fleets, the sample image in a project of its own, or names of networks on this host. Each other file
is a group of its own. Groups that need the engine or a browser go first, the longest of all at the very beginning, and
before the others in the use of the processors.

FANLIGHT_TESTS=unchecked leaves out what `scripts/check` runs, for who has just run it on the same tree.
"""

import functools
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

INSTALLATION, SAMPLE, NETWORKS = "installation", "sample", "networks"
_NEEDS_ENGINE = re.compile(r"pytest\.mark\.(incus|browser)\b")
# By what their text takes, and does not make for itself: who hands out the work knows no fixtures, only names.
_SHARED = (
    (INSTALLATION, re.compile(r"\b(installation: Installation|administrator: Administrator)\b"), "def installation("),
    (SAMPLE, re.compile(r"\brig: IncusRig\b"), "def rig("),
    (NETWORKS, re.compile(r"^from isolation import", re.MULTILINE), "def neighbour("),
)
_CHECKED = ("tests/unit/", "tests/contract/", "tests/architecture/")
_MORE_THAN_CHECKED = "tests/contract/test_random_operations.py"  # of which `scripts/test` wants more
_LONG = re.compile(r"test_(random_operations|account_tools|store|gateway_browser)\.py")
_ROOT = Path(__file__).parents[1]
_OWN_NICENESS = os.nice(0)
_NICENESS = 5  # more for tests beside the engine's: what a person would wait for has patience of its own


@functools.cache
def group_of(path: str) -> str:
    """Return the group of a file."""
    text = (_ROOT / path).read_text()
    if _NEEDS_ENGINE.search(text):
        for group, takes, makes in _SHARED:
            if takes.search(text) and makes not in text:
                return group
    return path


@functools.cache
def place_of(path: str) -> int:
    """Return where in the order a file has its place: low numbers first."""
    if group_of(path) == INSTALLATION:
        return 0
    if _LONG.search(path):
        return 1  # begun late, it would end alone
    return 2 if needs_engine(path) else 3


@functools.cache
def needs_engine(path: str) -> bool:
    return bool(_NEEDS_ENGINE.search((_ROOT / path).read_text()))


def _path(nodeid: str) -> str:
    return nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        """Hands out whole groups."""

        def _split_scope(self, nodeid: str) -> str:
            return group_of(_path(nodeid))

    config.option.loadscopereorder = False  # as sorted below
    return Groups(config, log)


def is_checked(item: pytest.Item) -> bool:
    """Return whether `scripts/check` runs it as `scripts/test` does."""
    path = _path(item.nodeid)
    needs_more = any(item.get_closest_marker(name) for name in ("incus", "browser", "postgres"))
    return path.startswith(_CHECKED) and path != _MORE_THAN_CHECKED and not needs_more


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest groups begin first; the order within a group stays."""
    if os.environ.get("FANLIGHT_TESTS") == "unchecked":
        config.hook.pytest_deselected(items=[item for item in items if is_checked(item)])
        items[:] = [item for item in items if not is_checked(item)]
    for item in items:
        takes_it = "real_installation" in getattr(item, "fixturenames", ())
        if takes_it != (group_of(_path(item.nodeid)) == INSTALLATION):
            raise pytest.UsageError(f"{item.nodeid} does not look like what it takes: see tests/conftest.py")
    items.sort(key=lambda item: place_of(_path(item.nodeid)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    are_there_others = needs_engine(_path(item.session.items[0].nodeid))
    wished = _OWN_NICENESS + (_NICENESS if are_there_others and not needs_engine(_path(item.nodeid)) else 0)
    if os.nice(0) != wished:
        with suppress(PermissionError):  # root alone may be less nice again; tests of the engine need root
            os.setpriority(os.PRIO_PROCESS, 0, wished)
