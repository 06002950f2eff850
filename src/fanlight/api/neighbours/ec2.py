"""EC2: which regions are there, and which machine images? Account tools walk through the first; AppStream imports and
exports the second: an AMI here is the name of an archive in S3, and nothing can be started from it.
"""

from types import MappingProxyType

from fanlight.api.authorization import plain_demands
from fanlight.api.aws_services import AwsService, everything_else
from fanlight.api.errors import COMMON_CODES
from fanlight.api.registry import Registry, operation
from fanlight.api.spec import NEIGHBOURS
from fanlight.api.types import ec2 as types
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import AlreadyExists, DryRunPassed, InvalidCombination, NotFound
from fanlight.domain.machine_images import MachineImage
from fanlight.services import AppStreamServices

NAME = "ec2"
NOT_BUILT = everything_else(NAME, NEIGHBOURS[NAME])
OPTED_IN = "opt-in-not-required"


@operation(
    "DescribeRegions",
    raises=(NotFound, InvalidCombination, DryRunPassed),
    note="The configured regions; each is usable at once.",
    limits={"Filters": "names are endpoint, opt-in-status and region-name."},
    without_effect={"AllRegions": "no region needs to be opted in, so all are listed anyway."},
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


@operation(
    "RegisterImage",
    raises=(NotFound, InvalidCombination, AlreadyExists, DryRunPassed),
    note="Names an archive in S3, for AppStream's CreateImportedImage: ImageLocation is bucket/key, below the account's place.",
    refuses={
        **dict.fromkeys(
            ("BlockDeviceMappings", "KernelId", "RamdiskId", "UefiData", "BillingProducts", "RootDeviceName"),
            "an AMI here is an archive of a root file system, and nothing is started from it.",
        ),
        "TagSpecifications": "machine images have no tags here: give them to the image that is made of it.",
    },
)
async def register_image(
    request: types.RegisterImageRequest, caller: Caller, services: AppStreamServices
) -> types.RegisterImageResult:
    if not request.image_location:
        raise InvalidCombination("ImageLocation is missing: name the archive, bucket/key.")
    made = await services.machine_images.register(
        caller.scope,
        request.name,
        request.image_location,
        request.description or "",
        is_dry_run=bool(request.dry_run),
    )
    return types.RegisterImageResult(image_id=made.ami_id)


@operation("DeregisterImage", raises=(NotFound, DryRunPassed), note="Forgets the name; the object in S3 stays.")
async def deregister_image(
    request: types.DeregisterImageRequest, caller: Caller, services: AppStreamServices
) -> types.DeregisterImageResult:
    await services.machine_images.deregister(caller.scope, request.image_id, is_dry_run=bool(request.dry_run))
    return types.DeregisterImageResult(return_=True)


@operation(
    "DescribeImages",
    raises=(NotFound, InvalidCombination, DryRunPassed),
    note="The account's own machine images, in one answer. Filters: name, image-id, state.",
    refuses={"ExecutableUsers": "machine images are not shared here."},
)
async def describe_images(
    request: types.DescribeImagesRequest, caller: Caller, services: AppStreamServices
) -> types.DescribeImagesResult:
    if request.dry_run:
        raise DryRunPassed("Request would have succeeded, but DryRun flag is set.")
    own = {"self", caller.scope.account_id}
    found = await services.machine_images.describe(caller.scope, request.image_ids or ())
    images = [_to_wire(one) for one in found if not request.owners or own & set(request.owners)]
    for condition in request.filters or ():
        images = [image for image in images if _image_value(image, condition) in (condition.values or ())]
    return types.DescribeImagesResult(images=tuple(images))


def _to_wire(one: MachineImage) -> types.Image:
    return types.Image(
        image_id=one.ami_id,
        name=one.name,
        description=one.description,
        image_location=str(one.place).removeprefix("s3://"),
        state=types.ImageState.available,
        owner_id=one.scope.account_id,
        creation_date=f"{one.created_at:%Y-%m-%dT%H:%M:%S}.000Z",
        public=False,
        image_type=types.ImageTypeValues.machine,
        platform_details="Linux/UNIX",
    )


def _image_value(image: types.Image, condition: types.Filter) -> str | None:
    """Raises InvalidCombination for a filter that is not answered here."""
    values = {"name": image.name, "image-id": image.image_id, "state": str(image.state)}
    if condition.name not in values:
        raise InvalidCombination(f"The filter '{condition.name}' is invalid. There are: {', '.join(values)}.")
    return values[condition.name]


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
        registry=Registry((describe_regions, register_image, deregister_image, describe_images), NOT_BUILT),
        types=types,
        demands=plain_demands("ec2"),
        namespace="com.amazonaws.ec2",
        codes=MappingProxyType(
            {
                **COMMON_CODES,
                NotFound: ("InvalidParameterValue",),
                InvalidCombination: ("InvalidParameterValue",),
                AlreadyExists: ("InvalidAMIName.Duplicate",),
                DryRunPassed: ("DryRunOperation",),
            }
        ),
        # EC2's model lists no errors at all.
        unmodelled_codes=MappingProxyType(
            {"InvalidParameterValue": 400, "InvalidAMIName.Duplicate": 400, "DryRunOperation": 412}
        ),
    )
