"""Every module can be imported alone: no cycle hides behind a lucky order, and no import has to come first."""

import pkgutil
import subprocess
import sys

import fanlight

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fanlight.__path__, "fanlight.")
    # `__main__` runs the command; migrations are loaded by Alembic, which gives them their context.
    # The assistant's window needs Tk, which only the runtime brings; building that imports it.
    if not module.name.endswith("__main__") and ".migrations" not in module.name and ".window." not in module.name
)


# What does not reach a module may stay loaded while that one is imported anew: it cannot hide a cycle through it, and a
# cycle among the others shows when it is their turn. So each is imported twice in all, and not once for every other.
SCRIPT = """
import builtins, importlib, importlib.util, sys

names, reached, plain = sys.argv[1:], {}, builtins.__import__

def watched(name, globals=None, locals=None, fromlist=(), level=0):
    found = plain(name, globals, locals, fromlist, level)
    importer = (globals or {}).get("__name__", "")
    if importer.startswith("fanlight"):
        base = importlib.util.resolve_name("." * level + name, globals["__package__"]) if level else name
        reached.setdefault(importer, set()).update((base, *(f"{base}.{one}" for one in fromlist or ())))
    return found

def load(name):
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"{name}: {error!r}"

def all_reached(name):
    found, open_ones = set(), [name]
    while open_ones:
        one = open_ones.pop()
        if one not in found:
            found.add(one)
            parent = one.rpartition(".")[0]
            open_ones += [n for n in (*reached.get(one, ()), parent) if n.startswith("fanlight")]
    return found

builtins.__import__ = watched
for name in names:
    load(name)
closures = {name: all_reached(name) for name in list(sys.modules) if name.startswith("fanlight")}
for name in sorted(names, key=lambda name: len(closures.get(name, ()))):
    for loaded in [one for one in sys.modules if one == name or name in closures.get(one, ())]:
        module = sys.modules.pop(loaded)
        parent, _, own = loaded.rpartition(".")
        vars(sys.modules[parent]).pop(own, None) if parent in sys.modules else None
    if said := load(name):
        print(said)
"""


def test_every_module_imports_alone() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *MODULES], capture_output=True, text=True, check=True)
    assert done.stdout == ""
