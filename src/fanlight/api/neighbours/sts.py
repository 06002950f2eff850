"""STS: who am I? Account tools ask this first."""

from collections.abc import Sequence

from fanlight.api.authorization import Demand
from fanlight.api.aws_services import AwsService, everything_else
from fanlight.api.registry import Registry, operation
from fanlight.api.spec import NEIGHBOURS
from fanlight.api.types import sts as types
from fanlight.domain.access_keys import Caller
from fanlight.services import AppStreamServices

NAME = "sts"
NOT_BUILT = everything_else(NAME, NEIGHBOURS[NAME])


@operation("GetCallerIdentity", note="The user's name and id are those of the access key.")
async def get_caller_identity(
    request: types.GetCallerIdentityRequest,  # noqa: ARG001 - has no members
    caller: Caller,
    services: AppStreamServices,  # noqa: ARG001 - the caller is known
) -> types.GetCallerIdentityResult:
    return types.GetCallerIdentityResult(user_id=caller.access_key_id, account=caller.account_id, arn=caller.arn)


async def _nothing(*_: object) -> Sequence[Demand]:
    """Everybody may ask who he is, even if a policy denies it: that is the rule of the real service."""
    return ()


def sts_service() -> AwsService[AppStreamServices]:
    return AwsService(
        name=NAME,
        registry=Registry((get_caller_identity,), NOT_BUILT),
        types=types,
        demands=_nothing,
        namespace="com.amazonaws.sts",
    )
