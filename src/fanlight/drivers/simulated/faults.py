"""What can go wrong, on request. A test changes the object while the engine runs; the engine looks at it at each step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanlight.domain.errors import DriverError


@dataclass(slots=True, kw_only=True)
class Faults:
    """`boot_seconds` overrides the engine's own for instances launched from now on."""

    launch_error: DriverError | None = None  # every launch raises it
    unavailable: DriverError | None = None  # every call raises it
    away_regions: frozenset[str] = (
        frozenset()
    )  # their engine does not answer, as where regions have engines of their own
    capacity: int | None = None  # so many instances fit, then CapacityExhausted
    boot_seconds: float | None = None
    never_ready: bool = False  # the agent connects and stays BOOTING
    fails_to_boot: bool = False  # the agent reports FAILED
    fails_to_begin: bool = False  # the agent reports FAILED when a session begins
    never_begins: bool = False  # the agent hears begin_session and does nothing
    never_prepared: bool = False  # the agent hears prepare_snapshot and does nothing
    never_works: bool = False  # the agent hears of work on its image and does nothing
    # What is unsent in the home folder of every session, in files and bytes; None: sessions have no home folder. What
    # ended waits until it is (0, 0).
    unsent: tuple[int, int] | None = None
    failing_work: Mapping[str, str] = field(default_factory=dict)  # task of Maintain → what goes wrong
