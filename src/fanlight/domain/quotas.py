"""How much of what an account may have in a region: AppStream's quotas under the names of Service Quotas, and Nimble Studio's.

An installation runs on its own operator's machines, so the default is no quota at all. With quotas an operator keeps
accounts from each other's machines, or tests what his programs do when AWS says that it is enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from fanlight.domain.errors import DomainError
from fanlight.domain.instance_types import INSTANCE_TYPES

STACKS = "Stacks"
FLEETS = "Fleets"
ACTIVE_FLEETS = "Active fleets"
IMAGE_BUILDERS = "Image builders"
PRIVATE_IMAGES = "Private images"
IMAGE_SHARING = "Image sharing limit"
IMAGE_COPIES = "Concurrent image copies per destination Region"
IMAGE_UPDATES = "Concurrent image updates"
NIMBLE_LAUNCH_PROFILES = "Nimble Studio launch profiles"
NIMBLE_STREAMING_IMAGES = "Nimble Studio custom streaming images"
NIMBLE_FILE_SYSTEMS = "Nimble Studio shared file system components"
NIMBLE_SESSIONS = "Nimble Studio streaming sessions"
NIMBLE_G5_SESSIONS = "Nimble Studio G5 streaming sessions"
# The one limit that Service Quotas does not list: a footnote of the Administration Guide.
INTERNET_INSTANCES = "Fleet instances with default internet access"

_FAMILIES = {"standard": "Standard", "compute": "Compute-optimized", "memory": "Memory-optimized"}


def fleet_instances(instance_type: str) -> str:
    """Return the name of the quota of an instance type for fleets."""
    return f"{_type_words(instance_type)} streaming instances for fleets"


def builder_instances(instance_type: str) -> str:
    """Return the name of the quota of an instance type for image builders."""
    return f"{_type_words(instance_type)} streaming instances for image builders"


def _type_words(instance_type: str) -> str:
    _, family, size = instance_type.split(".")
    return f"{_FAMILIES[family]} {size}"


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """One quota: its default in AWS (None: nobody knows it any more), and what counts here, as the documentation says it."""

    name: str
    aws_default: int | None
    counts: str


# Defaults of AWS by instance type, for fleets and for image builders; the larger types have none until AWS is asked.
_AWS_INSTANCES = {
    "stream.standard.small": (50, 5),
    "stream.standard.medium": (50, 5),
    "stream.standard.large": (50, 5),
    "stream.standard.xlarge": (10, 5),
    "stream.standard.2xlarge": (10, 5),
    "stream.compute.large": (10, 3),
    "stream.compute.xlarge": (10, 3),
    "stream.memory.large": (10, 3),
    "stream.memory.xlarge": (10, 3),
}
ROWS: tuple[QuotaRow, ...] = (
    QuotaRow(STACKS, 10, "stacks that exist"),
    QuotaRow(FLEETS, 10, "fleets that exist"),
    QuotaRow(ACTIVE_FLEETS, 10, "fleets that are not STOPPED"),
    QuotaRow(INTERNET_INSTANCES, 100, "instances that one fleet with EnableDefaultInternetAccess wishes"),
    QuotaRow(IMAGE_BUILDERS, 10, "image builders that exist"),
    QuotaRow(PRIVATE_IMAGES, 10, "images of the account that exist"),
    QuotaRow(IMAGE_SHARING, 100, "accounts that one image is shared with"),
    QuotaRow(IMAGE_COPIES, 2, "copies on their way into one region"),
    QuotaRow(IMAGE_UPDATES, 5, "updates on their way"),
    QuotaRow(NIMBLE_LAUNCH_PROFILES, 50, "launch profiles of a studio"),
    QuotaRow(NIMBLE_STREAMING_IMAGES, 10, "streaming images of a studio"),
    QuotaRow(NIMBLE_FILE_SYSTEMS, 10, "studio components of the type SHARED_FILE_SYSTEM of a studio"),
    QuotaRow(NIMBLE_SESSIONS, None, "streaming sessions of a studio that are not DELETED"),
    QuotaRow(NIMBLE_G5_SESSIONS, 0, "those of them whose instance type is a g5"),
    *(
        QuotaRow(fleet_instances(name), _AWS_INSTANCES.get(name, (0, 0))[0], "instances that all fleets together wish")
        for name in INSTANCE_TYPES
    ),
    *(
        QuotaRow(builder_instances(name), _AWS_INSTANCES.get(name, (0, 0))[1], "image builders of this type")
        for name in INSTANCE_TYPES
    ),
)
AWS_DEFAULTS: Mapping[str, int] = MappingProxyType(
    {row.name: row.aws_default for row in ROWS if row.aws_default is not None}
)
NAMES = tuple(row.name for row in ROWS)
_BY_FOLDED_NAME = {name.casefold(): name for name in NAMES}


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

    Names may be written in capital or small letters. Raises UnknownQuota, with the names that are meant or there are.
    """
    limits: dict[str, int] = {}
    for position, part in enumerate(text.split(",")):
        given, sign, number = (piece.strip() for piece in part.partition("="))
        name = _BY_FOLDED_NAME.get(given.casefold())
        if not sign and position == 0 and given in ("off", "aws"):
            limits.update(AWS_DEFAULTS if given == "aws" else {})
        elif name is None or not (number.isascii() and number.isdigit()):
            raise UnknownQuota(_what_to_write(part.strip(), given.casefold()))
        else:
            limits[name] = int(number)
    return Quotas(MappingProxyType(limits))


def _what_to_write(part: str, given: str) -> str:
    how = "Write off, aws, or AppStream's names with numbers, separated by commas: aws,Active fleets=5."
    close = [_BY_FOLDED_NAME[name] for name in get_close_matches(given, _BY_FOLDED_NAME, n=3)]
    names = close or [
        *(row.name for row in ROWS if " streaming instances for " not in row.name),
        fleet_instances("stream.standard.small"),
        "the like for each instance type",
    ]
    return f"'{part}' is not a quota. {how} {'Is it' if close else 'The names are'} {', '.join(names)}{'?' if close else '.'}"
