"""The service models that decide the wire, with what we must know beyond them.

They are taken from the installed botocore, but for Nimble Studio's (`spec.nimble_model`).

Data only: which shapes exist, which members carry secrets, how wire names are spelled in Python.
"""

from collections.abc import Mapping
from functools import cache
from keyword import iskeyword
from types import MappingProxyType
from typing import Any

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel

from fanlight.api.spec.nimble_model import NIMBLE, nimble_model

APPSTREAM_NAMESPACE = "com.amazonaws.photon"  # what full shape ids start with on the CBOR wire

# The model marks passwords and streaming URLs as sensitive, but not the context that a caller hands to its applications,
# which customers use for tokens of their own. (structure, member)
SENSITIVE_BEYOND_MODEL = frozenset({("CreateStreamingURLRequest", "SessionContext")})


NEIGHBOURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "application-autoscaling": (
            "DeleteScalingPolicy",
            "DeleteScheduledAction",
            "DeregisterScalableTarget",
            "DescribeScalableTargets",
            "DescribeScalingActivities",
            "DescribeScalingPolicies",
            "DescribeScheduledActions",
            "ListTagsForResource",
            "PutScalingPolicy",
            "PutScheduledAction",
            "RegisterScalableTarget",
            "TagResource",
            "UntagResource",
        ),
        "cloudwatch": (
            "DeleteAlarms",
            "DescribeAlarms",
            "DescribeAlarmsForMetric",
            "DisableAlarmActions",
            "EnableAlarmActions",
            "GetMetricData",
            "GetMetricStatistics",
            "ListMetrics",
            "ListTagsForResource",
            "PutMetricAlarm",
            "SetAlarmState",
            "TagResource",
            "UntagResource",
        ),
        "ec2": ("DeregisterImage", "DescribeImages", "DescribeRegions", "RegisterImage"),
        "resourcegroupstaggingapi": ("GetResources", "GetTagKeys", "GetTagValues", "TagResources", "UntagResources"),
        "sts": ("GetCallerIdentity",),
    }
)
"""The other services that the tools of AppStream's users ask on the same endpoint, and the operations that are real.

By botocore's names. Types are generated for these operations alone, in `api.types.<name with underscores>`.
"""


@cache
def service_model(name: str) -> ServiceModel:
    """Return a model as the pinned botocore has it, or our own. Loading takes some 10 to 70 ms; the result is shared."""
    if name == NIMBLE:
        return nimble_model()
    return ServiceModel(Loader().load_service_model(name, "service-2"), service_name=name)


def appstream_model() -> ServiceModel:
    return service_model("appstream")


def attribute_name(member: str) -> str:
    """Return the Python spelling of a wire member: `IconS3Location` → `icon_s3_location`, `Return` → `return_`."""
    name = str(xform_name(member))
    return f"{name}_" if iskeyword(name) else name


def is_sensitive(structure: str, member: str, shape: Any) -> bool:
    """Tell whether a value of this member may never be shown, logged or echoed."""
    return bool(shape.metadata.get("sensitive")) or (structure, member) in SENSITIVE_BEYOND_MODEL
