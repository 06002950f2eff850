"""Run commands on the host and inside a root file system that is being built."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 15
# A private mount namespace: whatever happens, no mount is left behind. A private process namespace: neither is a daemon.
_ENTER = """set -e
mount --make-rprivate /
mkdir -p "$ROOT/proc" "$ROOT/var/cache/apt/archives"
mount -t proc -o nosuid,nodev,noexec proc "$ROOT/proc"
mount --bind "$PACKAGES" "$ROOT/var/cache/apt/archives"
for each in $BINDS; do
  mkdir -p "$ROOT${each#*:}"
  mount --bind "${each%%:*}" "$ROOT${each#*:}"
done
unset PACKAGES BINDS
exec env -u ROOT chroot "$ROOT" "$@"
"""
# The root file system becomes the only one there is: a chroot can be left by root, this cannot.
_ENTER_CONFINED = """set -e
mount --make-rprivate /
mkdir -p "$ROOT/proc"
mount --rbind "$ROOT" "$ROOT"
mount -t proc -o nosuid,nodev,noexec proc "$ROOT/proc"
cd "$ROOT"
pivot_root . .
umount -l .
unset PACKAGES BINDS ROOT
exec setpriv --no-new-privs --bounding-set "$CAPABILITIES" --inh-caps -all env -u CAPABILITIES "$@"
"""
_CAPABILITIES = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setfcap,+sys_chroot,+audit_write"
_INSIDE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")


class CommandFailed(Exception):
    """A build command ended with an error. The text has the command and its last words."""


class Shell:
    """`log` takes the output of all commands; `packages` is the cache of downloaded packages, shared by all builds.

    `epoch` is what commands inside take for the time of what they make (SOURCE_DATE_EPOCH).
    """

    def __init__(self, log: Path, packages: Path, epoch: int | None = None) -> None:
        self._log = log
        self._packages = packages
        self._inside = {**_INSIDE, "SOURCE_DATE_EPOCH": str(epoch)} if epoch is not None else _INSIDE

    def with_epoch(self, epoch: int | None) -> "Shell":
        return Shell(self._log, self._packages, epoch)

    async def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        give: bytes | None = None,
        secret_free_name: str = "",
    ) -> None:
        """Run it on the host. Raises CommandFailed. `on_line` sees each line of its output."""
        await self._run(command, {**os.environ, **(environment or {})}, on_line, give, secret_free_name)

    async def run_inside(
        self,
        root: Path,
        command: Sequence[str],
        *,
        on_line: Callable[[str], None] | None = None,
        give: bytes | None = None,
        binds: Mapping[Path, str] | None = None,
    ) -> None:
        """Run it as root of the file system at `root`, with its own processes and mounts. Raises CommandFailed."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment = {
            **self._inside,
            **passed,
            "ROOT": str(root),
            "PACKAGES": str(self._packages),
            "BINDS": " ".join(f"{source}:{target}" for source, target in (binds or {}).items()),
            "DEBIAN_FRONTEND": "noninteractive",
        }
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "sh"]
        await self._run([*enter, *command], environment, on_line, give, " ".join(command))

    async def run_confined(self, root: Path, command: Sequence[str], *, has_network: bool) -> None:
        """Run it as root of the file system at `root`, which is all it can reach: no file, device, mount or process of

        the host, and no network unless it has one. Raises CommandFailed.
        """
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ and has_network}
        environment = {
            **self._inside,
            **passed,
            "ROOT": str(root),
            "CAPABILITIES": _CAPABILITIES,
            "DEBIAN_FRONTEND": "noninteractive",
        }
        alone = [] if has_network else ["--net"]
        enter = ["unshare", "--mount", "--pid", "--ipc", "--uts", *alone, "--fork", "--kill-child"]
        await self._run(
            [*enter, "sh", "-c", _ENTER_CONFINED, "sh", *command], environment, None, None, " ".join(command)
        )

    def note(self, text: str) -> None:
        """Write a line into the log."""
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"# {text}\n")

    async def _run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], None] | None,
        give: bytes | None,
        shown: str,
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if give is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        tail: list[str] = []
        try:
            if give is not None and process.stdin is not None:
                process.stdin.write(give)
                process.stdin.close()
            with self._log.open("a", encoding="utf-8") as log:
                log.write(f"$ {shown or ' '.join(command)}\n")
                async for line in _lines(process):
                    log.write(line + "\n")
                    tail = [*tail[1 - TAIL_LINES :], line]
                    if on_line is not None:
                        on_line(line)
            status = await process.wait()
        except BaseException:
            # Ctrl-C or a fault here: the command must not go on building behind our back.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        if status != 0:
            words = "\n  ".join(tail)
            raise CommandFailed(
                f"`{shown or ' '.join(command)}` ended with status {status}:\n  {words}\nAll of its output: {self._log}"
            )


async def _lines(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    """Yield lines however long they are (progress bars end in carriage returns)."""
    assert process.stdout is not None  # noqa: S101 - asked for above
    pending = b""
    while chunk := await process.stdout.read(65_536):
        *complete, pending = (pending + chunk.replace(b"\r", b"\n")).split(b"\n")
        for line in complete:
            yield line.decode("utf-8", "replace")
    if pending:
        yield pending.decode("utf-8", "replace")
