"""Every module can be imported alone: no cycle hides behind a lucky order, and no import has to come first."""

import pkgutil
import subprocess
import sys

import fanlight

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fanlight.__path__, "fanlight.")
    # `__main__` runs the command; migrations are loaded by Alembic, which gives them their context.
    if not module.name.endswith("__main__") and ".migrations" not in module.name
)


def test_every_module_imports_alone() -> None:
    """One interpreter, but a fresh module table for each module: a hundred starts would take a minute."""
    script = """
import importlib, sys
keep = {name for name in sys.modules if not name.startswith("fanlight")}
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m.startswith("fanlight")]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name}: {error!r}")
"""
    done = subprocess.run([sys.executable, "-c", script, *MODULES], capture_output=True, text=True, check=True)
    assert done.stdout == ""
