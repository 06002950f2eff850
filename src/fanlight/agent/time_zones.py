"""The browser's time zone, as this image knows it.

Browsers still say names that newer systems have dropped (Asia/Calcutta); the image's own table says what they are
called now. A zone that the image does not know at all is left out: programs would take its name for UTC's.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

VARIABLE = "TZ"
ZONES = "usr/share/zoneinfo"
LINKS = "tzdata.zi"  # compiled rules in which `L <target> <name>` says that a name stands for another


def with_known_zone(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """Return the environment with a TZ that programs of the image in `root` understand, or without one."""
    known = dict(environment)
    wanted = known.pop(VARIABLE, "")
    zones = root / ZONES
    for name in (wanted, _target_of(wanted, zones)):
        if name and _is_zone(zones, name):
            known[VARIABLE] = name
            return known
    if wanted:
        log.warning("the image does not know the time zone", extra={"time_zone": wanted})
    return known


def _is_zone(zones: Path, name: str) -> bool:
    return ".." not in name.split("/") and not name.startswith("/") and (zones / name).is_file()


def _target_of(name: str, zones: Path) -> str:
    if not name or _is_zone(zones, name):
        return ""
    try:
        lines = (zones / LINKS).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    targets = {link[2]: link[1] for line in lines if len(link := line.split()) == 3 and link[0] == "L"}  # noqa: PLR2004
    return targets.get(name, "")
