"""Which files a program has in use: what an optimization manifest is made of."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

KEPT_BELOW = ("/usr/", "/opt/", "/lib/", "/lib64/", "/srv/", "/etc/")  # what every instance of the image has
RUNTIME = "/opt/fanlight/"  # comes from the host
MAX_FILES = 5_000


def files_in_use(uid: int, proc: Path = Path("/proc")) -> list[str]:
    """Return what the processes of a user have open or mapped now, by name."""
    found: set[str] = set()
    for process in proc.iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if process.stat().st_uid == uid:
                    found.update(_files_of(process))
    wanted = (path for path in found if path.startswith(KEPT_BELOW) and not path.startswith(RUNTIME))
    return sorted(path for path in wanted if Path(path).is_file())[:MAX_FILES]


def _files_of(process: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in (process / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
            _, has_path, path = line.partition(" /")
            if has_path:
                yield "/" + path
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(descriptor.readlink())
