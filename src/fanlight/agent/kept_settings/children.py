"""Work that root has done by a child that has become a user, and can become nothing else."""

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from fanlight.agent.kept_settings.archives import Unfit

PR_SET_NO_NEW_PRIVS = 38
MEMORY_IN_BYTES = 1 << 29  # what it reads is hostile, and must not take the instance's memory
_CHUNK_BYTES = 256 * 1024
_LONGEST_WORDS = 500
_DONE, _UNFIT, _FAILED = 0, 3, 4
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Person:
    uid: int
    group: int


def run_as(person: Person, work: Callable[[IO[bytes]], None], consume: Callable[[bytes], None]) -> None:
    """Have a child do `work`; `consume` gets what that writes. Raises what the child raised: Unfit, OSError."""
    output, words = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(output[0])
        os.close(words[0])
        os._exit(_do(person, work, output[1], words[1]))
    os.close(output[1])
    os.close(words[1])
    try:
        with os.fdopen(output[0], "rb") as file:
            while chunk := file.read1(_CHUNK_BYTES):
                consume(chunk)
        with os.fdopen(words[0], "rb") as file:
            said = file.read(_LONGEST_WORDS).decode("utf-8", "replace")
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        raise
    finally:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == _UNFIT:
        raise Unfit(said)
    if status != _DONE:
        raise OSError(said or f"the user's side ended with {status}")


def _do(person: Person, work: Callable[[IO[bytes]], None], output: int, words: int) -> int:
    """In the child: return what it ends with."""
    try:
        _become(person)
        with os.fdopen(output, "wb") as file:
            work(file)
    except Unfit as error:
        os.write(words, str(error).encode()[:_LONGEST_WORDS])
        return _UNFIT
    except BaseException as error:  # noqa: BLE001 - a forked child must never return into what root does
        os.write(words, (getattr(error, "strerror", None) or type(error).__name__).encode()[:_LONGEST_WORDS])
        return _FAILED
    return _DONE


def _become(person: Person) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_IN_BYTES, MEMORY_IN_BYTES))
    if os.getuid() == 0:
        os.setgroups([person.group])
        os.setresgid(person.group, person.group, person.group)
        os.setresuid(person.uid, person.uid, person.uid)
    if os.getresuid() != (person.uid,) * 3 or _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise PermissionError("cannot become the user")
