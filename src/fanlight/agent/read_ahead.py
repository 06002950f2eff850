"""Read ahead the files that an image's optimization manifests name, so that its applications start quicker."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fanlight.agent.assistant.catalogue import Catalogue
from fanlight.agent.assistant.refusals import AssistantRefuses

MAX_FILES, MAX_BYTES = 20_000, 2 << 30  # of all manifests together: more than that would push out what it brings in
NICENESS = 15


def begin(root: Path = Path("/")) -> None:
    """Begin in a process of its own, which nobody waits for. Does nothing in an image without manifests."""
    files = list(_files(root))
    if not files or os.fork() != 0:
        return
    with contextlib.suppress(BaseException):  # a forked child must never return into the agent
        os.nice(NICENESS)
        read_ahead(files)
    os._exit(0)


def read_ahead(files: list[Path]) -> int:
    """Ask the kernel for the files, in order; return how many bytes that are. What cannot be read is left out."""
    total = 0
    for path in files[:MAX_FILES]:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(descriptor)
                if stat.S_ISREG(found.st_mode) and total + found.st_size <= MAX_BYTES:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
                    total += found.st_size
            finally:
                os.close(descriptor)
    return total


def _files(root: Path) -> Iterator[Path]:
    """Yield what the manifests name, each file once."""
    catalogue, seen = Catalogue(root), set[str]()
    with contextlib.suppress(AssistantRefuses, OSError):
        for entry in catalogue.entries():
            path = catalogue.manifest_path(entry)
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path else ():
                if line.startswith("/") and line not in seen:
                    seen.add(line)
                    yield root / line.lstrip("/")
