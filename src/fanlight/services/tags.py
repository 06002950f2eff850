"""Tags of resources, by ARN."""

from collections.abc import Mapping, Sequence

from fanlight.domain.errors import LimitExceeded, NotFound
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions, UnitOfWork

MOST_TAGS = 50


class TagService:
    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def tag(self, scope: Scope, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags; equal keys are overwritten, others stay. Raises NotFound, LimitExceeded (50 per resource)."""
        async with self._transactions.begin(write=True) as work:
            await _check_exists(work, scope, arn)
            present = await work.tags.of(arn)
            if len({*present, *tags}) > MOST_TAGS:
                raise LimitExceeded(f"The resource {arn} would have more than {MOST_TAGS} tags. Remove some first.")
            await work.tags.put(arn, tags)
            await work.commit()

    async def untag(self, scope: Scope, arn: str, keys: Sequence[str]) -> None:
        """Remove tags; absent keys are success. Raises NotFound."""
        async with self._transactions.begin(write=True) as work:
            await _check_exists(work, scope, arn)
            await work.tags.drop(arn, keys)
            await work.commit()

    async def of(self, scope: Scope, arn: str) -> Mapping[str, str]:
        """Raises NotFound."""
        async with self._transactions.begin() as work:
            await _check_exists(work, scope, arn)
            return await work.tags.of(arn)


async def _check_exists(work: UnitOfWork, scope: Scope, arn: str) -> None:
    """Raise NotFound unless the ARN names a taggable resource of this very account and region."""
    prefix = scope.arn("")
    kind, _, name = arn.removeprefix(prefix).partition("/")
    if not arn.startswith(prefix) or not name or not await _exists(work, scope, kind, name):
        raise NotFound("resource", arn)


async def _exists(work: UnitOfWork, scope: Scope, kind: str, name: str) -> bool:
    match kind:
        case "fleet":
            return bool(await work.fleets.page(scope, names=[name], limit=1))
        case "stack":
            return bool(await work.stacks.page(scope, names=[name], limit=1))
        case "image":
            return await work.images.find(scope, arn=scope.arn(f"image/{name}")) is not None
        case _:
            return False
