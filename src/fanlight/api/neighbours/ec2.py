"""EC2: which regions are there? Account tools walk through them."""

from types import MappingProxyType

from fanlight.api.authorization import plain_demands
from fanlight.api.aws_services import AwsService, everything_else
from fanlight.api.errors import COMMON_CODES
from fanlight.api.registry import Registry, operation
from fanlight.api.spec import NEIGHBOURS
from fanlight.api.types import ec2 as types
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import DomainError, InvalidCombination, NotFound
from fanlight.services import AppStreamServices

NAME = "ec2"
NOT_BUILT = everything_else(NAME, NEIGHBOURS[NAME])
OPTED_IN = "opt-in-not-required"


class DryRunPassed(DomainError):
    """Not an error but EC2's way of saying that the request would have been answered."""


@operation(
    "DescribeRegions",
    raises=(NotFound, InvalidCombination, DryRunPassed),
    note="The configured regions; each is usable at once.",
)
async def describe_regions(
    request: types.DescribeRegionsRequest,
    caller: Caller,  # noqa: ARG001 - all accounts have the same regions
    services: AppStreamServices,
) -> types.DescribeRegionsResult:
    if request.dry_run:
        raise DryRunPassed("Request would have succeeded, but DryRun flag is set.")
    for name in request.region_names or ():
        if name not in services.regions:
            raise NotFound("region", name)
    regions = [
        types.Region(region_name=name, endpoint=f"ec2.{name}.amazonaws.com", opt_in_status=OPTED_IN)
        for name in services.regions
        if not request.region_names or name in request.region_names
    ]
    for condition in request.filters or ():
        regions = [region for region in regions if _value(region, condition) in (condition.values or ())]
    return types.DescribeRegionsResult(regions=tuple(regions))


def _value(region: types.Region, condition: types.Filter) -> str | None:
    """Return what a filter looks at. Raises InvalidCombination for a filter that EC2 does not have."""
    values = {
        "endpoint": region.endpoint,
        "opt-in-status": region.opt_in_status,
        "region-name": region.region_name,
    }
    if condition.name not in values:
        raise InvalidCombination(f"The filter '{condition.name}' is invalid. There are: {', '.join(values)}.")
    return values[condition.name]


def ec2_service() -> AwsService[AppStreamServices]:
    return AwsService(
        name=NAME,
        registry=Registry((describe_regions,), NOT_BUILT),
        types=types,
        demands=plain_demands("ec2"),
        namespace="com.amazonaws.ec2",
        codes=MappingProxyType(
            {
                **COMMON_CODES,
                NotFound: ("InvalidParameterValue",),
                InvalidCombination: ("InvalidParameterValue",),
                DryRunPassed: ("DryRunOperation",),
            }
        ),
        # EC2's model lists no errors at all.
        unmodelled_codes=MappingProxyType({"InvalidParameterValue": 400, "DryRunOperation": 412}),
    )
