"""Backups of the streaming sessions of studios: they can be seen, and started from; nobody makes or deletes one by hand."""

from collections.abc import Sequence

from fanlight.domain.errors import NotFound
from fanlight.domain.nimble.session_backups import SessionBackup
from fanlight.domain.nimble.sessions import StudioSessionState
from fanlight.domain.nimble.studios import Studio
from fanlight.domain.places import Scope
from fanlight.domain.tags import Tags
from fanlight.services.nimble.ground import Ground

PAGE_SIZE = 50


class SessionBackupService:
    def __init__(self, ground: Ground) -> None:
        self._transactions, self._tokens = ground.transactions, ground.tokens

    async def get(self, scope: Scope, studio_id: str, backup_id: str) -> tuple[SessionBackup, Tags]:
        """Return a backup, a deleted one too while it is kept, and its tags. Raises NotFound."""
        async with self._transactions.begin() as work:
            backup = await work.session_backups.find(backup_id)
            if backup is None or (backup.scope, backup.studio_id) != (scope, studio_id):
                raise NotFound("streaming session backup", backup_id)
            return backup, await work.tags.of(backup.arn)

    async def page(
        self, scope: Scope, studio_id: str, owned_by: str | None, next_token: str | None
    ) -> tuple[Sequence[tuple[SessionBackup, Tags]], str | None]:
        """Return one page of backups with their tags, and the next token. Raises NotFound (studio), InvalidPageToken."""
        asked = ["session backups of", studio_id, owned_by or ""]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            await work.nimble.resources.get(Studio, scope, studio_id)
            shown: list[SessionBackup] = []
            while len(shown) <= PAGE_SIZE:
                found = await work.session_backups.page(scope, studio_id, after=after, limit=PAGE_SIZE + 1)
                shown += [one for one in found if _is_shown(one, owned_by)]
                if len(found) <= PAGE_SIZE:
                    break
                after = found[-1].backup_id
            tagged = [(backup, await work.tags.of(backup.arn)) for backup in shown[:PAGE_SIZE]]
        has_more = len(shown) > PAGE_SIZE
        return tagged, self._tokens.issue(scope, asked, tagged[-1][0].backup_id) if has_more else None


def _is_shown(backup: SessionBackup, owned_by: str | None) -> bool:
    return backup.state is not StudioSessionState.DELETED and owned_by in (None, backup.owned_by)
