"""Tags of resources, by ARN."""

from collections.abc import Mapping, Sequence

from fanlight.domain.errors import NotFound
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions, UnitOfWork
from fanlight.domain.tags import Tags, TagSearch
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.resource_tags import ResourceTags

PAGE_OF_KEYS = 100
LARGEST_PAGE = 100

TaggedResource = tuple[str, Tags]


class TagService:
    def __init__(self, transactions: Transactions, tokens: PageTokens) -> None:
        self._transactions, self._tokens = transactions, tokens
        self._tags = ResourceTags(transactions, _check_exists)

    async def tag(self, scope: Scope, arn: str, tags: Mapping[str, str]) -> None:
        """Add tags; equal keys are overwritten, others stay.

        Raises NotFound, LimitExceeded (50 per resource), InvalidCombination (keys, values).
        """
        await self._tags.tag(scope, arn, tags)

    async def untag(self, scope: Scope, arn: str, keys: Sequence[str]) -> None:
        """Remove tags; absent keys are success. Raises NotFound, InvalidCombination (keys)."""
        await self._tags.untag(scope, arn, keys)

    async def of(self, scope: Scope, arn: str) -> Mapping[str, str]:
        """Raises NotFound."""
        return await self._tags.of(scope, arn)

    async def search(
        self,
        scope: Scope,
        search: TagSearch,
        *,
        most_resources: int = LARGEST_PAGE,
        most_tags: int | None = None,
        next_token: str | None = None,
    ) -> tuple[Sequence[TaggedResource], str | None]:
        """Return one page of tagged resources by ARN and the token of the next. Raises InvalidPageToken."""
        asked = ["tagged resources", *search.words]
        after = self._tokens.read(scope, asked, next_token)
        found = [item for item in await self._tagged(scope) if item[0] > after and search.finds(*item)]
        page, has_more = cut(found, most_resources)
        if most_tags is not None:
            page = _with_at_most(page, most_tags)
            has_more = len(page) < len(found)
        return page, self._tokens.issue(scope, asked, page[-1][0]) if has_more else None

    async def keys(self, scope: Scope, next_token: str | None = None) -> tuple[Sequence[str], str | None]:
        """Return one page of the keys in use, and the token of the next. Raises InvalidPageToken."""
        keys = {key for _, tags in await self._tagged(scope) for key in tags}
        return self._page(scope, ["tag keys"], keys, next_token)

    async def values(self, scope: Scope, key: str, next_token: str | None = None) -> tuple[Sequence[str], str | None]:
        """Return one page of the values that a key has anywhere, and the token of the next. Raises InvalidPageToken."""
        values = {tags[key] for _, tags in await self._tagged(scope) if key in tags}
        return self._page(scope, ["tag values", key], values, next_token)

    async def _tagged(self, scope: Scope) -> Sequence[TaggedResource]:
        """Return all that have tags in this scope, by ARN."""
        async with self._transactions.begin() as work:
            tagged = await work.tags.under(scope.arn(""))
        return sorted(tagged.items())

    def _page(
        self, scope: Scope, asked: Sequence[str], texts: set[str], next_token: str | None
    ) -> tuple[Sequence[str], str | None]:
        # A value may be empty, and "" is where the first page begins: what is kept has a sign in front.
        after = self._tokens.read(scope, asked, next_token)
        page, has_more = cut(sorted(text for text in texts if f"={text}" > after), PAGE_OF_KEYS)
        return page, self._tokens.issue(scope, asked, f"={page[-1]}") if has_more else None


def _with_at_most(found: Sequence[TaggedResource], most_tags: int) -> Sequence[TaggedResource]:
    """Return the first resources that have no more tags together; a resource is never split."""
    total = 0
    for position, (_, tags) in enumerate(found):
        total += len(tags)
        if total > most_tags and position:
            return found[:position]
    return found


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
        case "image-builder":
            return bool(await work.image_builders.page(scope, names=[name], limit=1))
        case "image":
            return await work.images.find(scope, arn=scope.arn(f"image/{name}")) is not None
        case _:
            return False
