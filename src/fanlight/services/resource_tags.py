"""Tags of one kind of resource, by ARN: what every service that has taggable things does in the same way."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from fanlight.domain.errors import LimitExceeded
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions, UnitOfWork
from fanlight.domain.tags import MOST_TAGS, check_keys, check_tags

# Raises NotFound unless the ARN names a resource of this kind in this very account and region.
CheckExists = Callable[[UnitOfWork, Scope, str], Awaitable[None]]


class ResourceTags:
    """`noun` is what errors call a resource of this kind."""

    def __init__(self, transactions: Transactions, check_exists: CheckExists, noun: str = "resource") -> None:
        self._transactions, self._check_exists, self._noun = transactions, check_exists, noun

    async def tag(self, scope: Scope, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags; equal keys are overwritten, others stay.

        Raises NotFound, LimitExceeded (50 per resource), InvalidCombination (keys, values).
        """
        check_tags(tags)
        async with self._transactions.begin(write=True) as work:
            await self._check_exists(work, scope, arn)
            await self.put(work, arn, tags)
            await work.commit()

    async def put(self, work: UnitOfWork, arn: str, tags: Mapping[str, str]) -> None:
        """Do what `tag` does within a transaction that makes the resource. Raises LimitExceeded, InvalidCombination."""
        check_tags(tags)
        if tags and len({*await work.tags.of(arn), *tags}) > MOST_TAGS:
            raise LimitExceeded(f"The {self._noun} {arn} would have more than {MOST_TAGS} tags. Remove some first.")
        await work.tags.put(arn, tags)

    async def untag(self, scope: Scope, arn: str, keys: Sequence[str]) -> None:
        """Remove tags; absent keys are success. Raises NotFound, InvalidCombination (keys)."""
        check_keys(keys)
        async with self._transactions.begin(write=True) as work:
            await self._check_exists(work, scope, arn)
            await work.tags.drop(arn, keys)
            await work.commit()

    async def of(self, scope: Scope, arn: str) -> Mapping[str, str]:
        """Raises NotFound."""
        async with self._transactions.begin() as work:
            await self._check_exists(work, scope, arn)
            return await work.tags.of(arn)
