"""Files that users saved and that were given up: who is told of them, and how the next session of the user learns it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from fanlight.domain.ports import UnitOfWork
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.domain.unsent_files import SettingsLoss, UnsentFiles, in_all

log = logging.getLogger(__name__)

Loss: TypeAlias = UnsentFiles | SettingsLoss
FilesLost: TypeAlias = Callable[[StreamingSession, Loss], None]


def tell_nobody(_session: StreamingSession, _lost: Loss) -> None:
    pass


def report_loss(session: StreamingSession, lost: UnsentFiles, why: str, files_lost: FilesLost) -> None:
    """Call it once the loss is written. How the files are called the host does not know."""
    log.warning(
        "files of a session were not saved",
        extra={
            "streaming_session_id": session.session_id,
            "instance_id": session.instance_id,
            "files": lost.files,
            "bytes": lost.size_in_bytes,
            "why": why,
        },
    )
    files_lost(session, lost)


def report_settings_loss(session: StreamingSession, loss: SettingsLoss, files_lost: FilesLost) -> None:
    """Call it once the loss is written. The agent's own words about it stand in the log already."""
    log.warning(
        "settings of applications were not kept",
        extra={"streaming_session_id": session.session_id, "instance_id": session.instance_id, "why": loss},
    )
    files_lost(session, loss)


async def take_losses(work: UnitOfWork, session: StreamingSession) -> UnsentFiles | None:
    """Return what earlier sessions of the user lost, and note there that this one tells. Raises ChangedMeanwhile."""
    earlier = await work.sessions.unsent_of_user(session.scope, session.user_id, session.authentication_type)
    lost = [one for one in earlier if one.unsent is not None and one.unsent.are_lost]
    for one in lost:
        await work.sessions.save(replace(one, unsent=None))
    return in_all(one.unsent for one in lost if one.unsent is not None)
