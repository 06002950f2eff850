"""The service model that decides the wire, taken from the installed botocore, with what we must know beyond it.

Data only: which shapes exist, which members carry secrets, how wire names are spelled in Python.
"""

from functools import lru_cache
from typing import Any

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel

APPSTREAM_NAMESPACE = "com.amazonaws.photon"  # what full shape ids start with on the CBOR wire

# The model marks passwords and streaming URLs as sensitive, but not the context that a caller hands to its applications,
# which customers use for tokens of their own. (structure, member)
SENSITIVE_BEYOND_MODEL = frozenset({("CreateStreamingURLRequest", "SessionContext")})


@lru_cache(maxsize=1)
def appstream_model() -> ServiceModel:
    """Return the model of AppStream as the pinned botocore has it. Loading takes some 20 ms; the result is shared."""
    return ServiceModel(Loader().load_service_model("appstream", "service-2"), service_name="appstream")


def attribute_name(member: str) -> str:
    """Return the Python spelling of a wire member: `IconS3Location` → `icon_s3_location`."""
    return str(xform_name(member))


def is_sensitive(structure: str, member: str, shape: Any) -> bool:
    """Tell whether a value of this member may never be shown, logged or echoed."""
    return bool(shape.metadata.get("sensitive")) or (structure, member) in SENSITIVE_BEYOND_MODEL
