"""Start the confined reader and believe nothing it says but in form."""

import asyncio
import base64
import binascii
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.confined import REFUSED
from fanlight.domain.images import Application

TIMEOUT_IN_SECONDS = 3600.0
_LONGEST_WORDS = 2000


@dataclass(frozen=True, slots=True)
class Found:
    """What the reader reports: see `normalise.Report`. Icons are PNGs that it drew."""

    applications: tuple[Application, ...]
    icons: Mapping[str, bytes]
    missing: tuple[str, ...]
    size_in_bytes: int
    members: int


async def read_archive(
    archive: Path,
    target: Path,
    *,
    icons: Mapping[str, str] | None = None,
    programs: Mapping[str, str] | None = None,
    prefix: str = "",
) -> Found:
    """Write the clean tarball (zstd) of an archive to `target`. Raises ArchiveRefused, OSError.

    `icons` and `programs` are the catalogue by application name: paths inside; None: it is found. `prefix` as
    `normalise` has it.
    """
    wanted = None if programs is None else {"icons": dict(icons or {}), "programs": dict(programs)}
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="empty-", dir=target.parent))
        request = stack.enter_context(tempfile.TemporaryFile())
        request.write(json.dumps({"root": root, "wanted": wanted, "prefix": prefix}).encode())
        request.seek(0)
        report = stack.enter_context(tempfile.TemporaryFile())
        words = stack.enter_context(tempfile.TemporaryFile())
        source = stack.enter_context(archive.open("rb"))
        made = stack.enter_context(target.open("wb"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "fanlight.archives.confined", str(request.fileno()), str(report.fileno()),
            stdin=source, stdout=made, stderr=words, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            pass_fds=(request.fileno(), report.fileno()), start_new_session=True, cwd="/",
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIMEOUT_IN_SECONDS):
                status = await process.wait()
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if isinstance(error, TimeoutError):
                raise ArchiveRefused("Reading the archive took longer than an hour.") from None
            raise
        report.seek(0)
        said = report.read(limits.MAX_REPORT_IN_BYTES + 1)
        words.seek(0)
        return _found(status, said, words.read(_LONGEST_WORDS))


def _found(status: int, said: bytes, words: bytes) -> Found:
    if status not in (0, REFUSED):
        if status in (-signal.SIGXCPU, -signal.SIGXFSZ, -signal.SIGKILL):
            raise ArchiveRefused("Reading the archive took more time, memory or room than it may take.")
        raise OSError(f"The reader of archives ended with status {status}: {words.decode(errors='replace')}")
    try:
        report = json.loads(said) if len(said) <= limits.MAX_REPORT_IN_BYTES else None
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict):
        raise ArchiveRefused("Reading the archive gave no usable answer.")
    if status == REFUSED:
        raise ArchiveRefused(_line(report.get("refused", "")))
    try:
        return Found(
            applications=tuple(Application(**one) for one in report["applications"]),
            icons={str(name): base64.b64decode(data, validate=True) for name, data in report["icons"].items()},
            missing=tuple(_line(one) for one in report["missing"]),
            size_in_bytes=int(report["size_in_bytes"]),
            members=int(report["members"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise ArchiveRefused("Reading the archive gave no usable answer.") from error


def _line(text: Any) -> str:
    """Return one printable line of bounded length: names in it are the archive's own."""
    return "".join(c if c.isprintable() else "�" for c in str(text))[:_LONGEST_WORDS]
