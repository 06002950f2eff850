"""How much of what an account may have in a region. AppStream's quotas under AppStream's names; none unless wished.

An installation runs on its own operator's machines, so the default is no quota at all. With quotas an operator keeps
accounts from each other's machines, or tests what his programs do when AWS says that it is enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fanlight.domain.errors import DomainError
from fanlight.domain.instance_types import INSTANCE_TYPES

STACKS = "stacks"
FLEETS = "fleets"
ACTIVE_FLEETS = "active-fleets"
"""Fleets that are not STOPPED."""
INTERNET_INSTANCES = "internet-access-instances"
"""Instances of one fleet with default internet access."""

# Defaults of AWS; what is not named here (the larger types) has none of them until AWS is asked.
_AWS_INSTANCES = {
    "stream.standard.small": 50,
    "stream.standard.medium": 50,
    "stream.standard.large": 50,
    "stream.standard.xlarge": 10,
    "stream.standard.2xlarge": 10,
    "stream.compute.large": 10,
    "stream.compute.xlarge": 10,
    "stream.memory.large": 10,
    "stream.memory.xlarge": 10,
}
AWS_DEFAULTS: Mapping[str, int] = MappingProxyType(
    {
        STACKS: 10,
        FLEETS: 10,
        ACTIVE_FLEETS: 10,
        INTERNET_INSTANCES: 100,
        **{name: _AWS_INSTANCES.get(name, 0) for name in INSTANCE_TYPES},
    }
)
NAMES = tuple(AWS_DEFAULTS)
"""Every quota: those above, and each instance type (instances of all active fleets together)."""


class UnknownQuota(DomainError):
    """A quota that does not exist, or a number that is none."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """`limits` by name; what is missing has no limit."""

    limits: Mapping[str, int]

    def of(self, name: str) -> int | None:
        return self.limits.get(name)


NO_QUOTAS = Quotas(MappingProxyType({}))


def read_quotas(text: str) -> Quotas:
    """Return the quotas that a setting spells: `off`, `aws`, and any `name=number` after it, separated by commas.

    Raises UnknownQuota, with the names there are.
    """
    limits: dict[str, int] = {}
    for position, part in enumerate(text.split(",")):
        name, sign, number = part.strip().partition("=")
        if not sign and position == 0 and name in ("off", "aws"):
            limits.update(AWS_DEFAULTS if name == "aws" else {})
        elif name not in NAMES or not (number.isascii() and number.isdigit()):
            raise UnknownQuota(
                f"'{part.strip()}' is not a quota. Write off, aws, or names with numbers (aws,fleets=50,stacks=20); "
                f"the names are {', '.join(NAMES)}."
            )
        else:
            limits[name] = int(number)
    return Quotas(MappingProxyType(limits))
