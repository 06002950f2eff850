"""What is missing on this host, and the command that mends it.

Looks, changes nothing, and takes well under a second: `fanlight serve` asks it before it starts anything.
"""

import os

from fanlight.config import Settings
from fanlight.doctor.engines import examine_engines
from fanlight.doctor.file_systems import examine_file_systems
from fanlight.doctor.findings import Finding
from fanlight.doctor.hosts import examine_host
from fanlight.doctor.networks import examine_networks
from fanlight.doctor.places import examine_places

__all__ = ["Finding", "examine"]


def examine(settings: Settings) -> list[Finding]:
    """Return what was found, in the order in which it should be mended. Never raises for a bad host."""
    findings = examine_places(settings) + examine_networks(settings) + examine_file_systems(settings)
    if settings.compute == "incus":
        findings += examine_host(settings)
        if os.geteuid() == 0:  # others cannot open the socket, and have been told to become root
            findings += examine_engines(settings)
    return findings
