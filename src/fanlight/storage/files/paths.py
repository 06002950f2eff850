"""Paths inside a home folder. They come from browsers, and names in the folder from anywhere: nothing about them is trusted.

On every wire a path is percent-encoded, each step for itself: names are bytes, and need not even be UTF-8.
"""

from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes

Steps: TypeAlias = tuple[bytes, ...]

MAX_NAME_IN_BYTES = 255
# As long as a key of S3 may be, the user's prefix left out.
_MAX_PATH_IN_BYTES = 900
_FIRST_PRINTABLE, _DELETE = 0x20, 0x7F


class BadPath(Exception):
    """The text is for the user."""


def steps_of(path: str) -> Steps:
    """Return the steps of a path; none for the home folder itself. Raises BadPath."""
    steps = tuple(unquote_to_bytes(step) for step in path.split("/") if step)
    if any(not step or b"/" in step or b"\0" in step or step in (b".", b"..") for step in steps):
        raise BadPath("The path leaves the folder.")
    if sum(len(step) + 1 for step in steps) > _MAX_PATH_IN_BYTES:
        raise BadPath("The path is too long. Use shorter names, or fewer folders in each other.")
    return steps


def new_steps_of(path: str) -> Steps:
    """Return the steps of something that is to be made. Raises BadPath when its name can be given to nothing."""
    steps = steps_of(path)
    if not steps:
        raise BadPath("The name is missing.")
    check_new_name(steps[-1])
    return steps


def check_new_name(name: bytes) -> None:
    """Raises BadPath. What is there already may have any name; what is made here has one that all can read."""
    if len(name) > MAX_NAME_IN_BYTES:
        raise BadPath(f"The name is too long: it has {len(name)} bytes, and {MAX_NAME_IN_BYTES} are possible.")
    if any(byte < _FIRST_PRINTABLE or byte == _DELETE for byte in name):
        raise BadPath("The name has control characters in it.")
    if name != name.strip():
        raise BadPath("The name begins or ends with a blank.")
    try:
        name.decode()
    except UnicodeDecodeError:
        raise BadPath("The name is not in UTF-8.") from None


def target_of(steps: Steps) -> str:
    """Return the path as it stands in a request."""
    return "/" + "/".join(quote(step, safe="") for step in steps)


def shown(name: bytes) -> str:
    """Return the name for people: what is no UTF-8 becomes a mark."""
    return name.decode("utf-8", "replace")
