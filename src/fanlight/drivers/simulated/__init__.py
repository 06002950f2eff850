"""The simulated engine: every promise of the ports without Incus, root or a browser. Shipped, and used by our own tests."""

from fanlight.drivers.simulated.driver import SimulatedDriver
from fanlight.drivers.simulated.faults import Faults
from fanlight.drivers.simulated.images import SAMPLE_CATALOGUES, SimulatedImageStore, write_catalogues
from fanlight.drivers.simulated.snapshots import SimulatedSnapshots

__all__ = [
    "SAMPLE_CATALOGUES",
    "Faults",
    "SimulatedDriver",
    "SimulatedImageStore",
    "SimulatedSnapshots",
    "write_catalogues",
]
