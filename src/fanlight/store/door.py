"""The one way to the database for every repository.

It adds what SQL libraries leave to the caller: a unit that was opened for reading cannot write, and whatever goes
wrong below comes out as a DomainError (a violated constraint excepted: that is a bug of ours and stays visible).
"""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from sqlalchemy import Executable, Row
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from fanlight.domain.errors import InvalidCombination, StoreUnavailable

log = logging.getLogger(__name__)

# A part costs some milliseconds, and the event loop serves nobody else meanwhile.
PART_SIZE = 200

Parameters = Mapping[str, Any]
AnyRow: TypeAlias = Row[*tuple[Any, ...]]


@contextmanager
def domain_errors() -> Iterator[None]:
    """Turn what drivers of databases raise into DomainErrors, with the cause chained."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise _unstorable() from error
    except IntegrityError:
        raise
    except ProgrammingError as error:
        # Tables are missing, or a statement of ours is wrong: both need a human, and the traceback.
        log.exception("the store does not understand a statement")
        raise StoreUnavailable(reason_of(error)) from error
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        if _is_about_data(error):
            raise _unstorable() from error
        reason = reason_of(error)
        log.warning("the store does not answer", extra={"reason": reason})
        raise StoreUnavailable(reason) from error


def _unstorable() -> InvalidCombination:
    return InvalidCombination(
        "A text of the request holds a character that cannot be stored (NUL or half of a surrogate pair). Remove it."
    )


def _is_about_data(error: Exception) -> bool:
    """Return whether a value was refused, by asyncpg itself or by the server (SQLSTATE class 22)."""
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else None
    return any(kind.__name__ == "DataError" for kind in type(cause).__mro__)


def reason_of(error: BaseException) -> str:
    """Return the driver's own short words; never the statement, whose parameters may be secret."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return str(original).splitlines()[0] if str(original) else type(original).__name__


class Door:
    """Runs statements on one connection, inside one transaction."""

    def __init__(self, connection: AsyncConnection, *, is_writable: bool) -> None:
        self._connection = connection
        self._is_writable = is_writable
        self.dialect = connection.dialect.name

    async def rows(self, statement: Executable, parameters: Parameters | None = None) -> Sequence[AnyRow]:
        """Return all rows of a query. Raises StoreUnavailable."""
        with domain_errors():
            return (await self._connection.execute(statement, parameters)).fetchall()

    async def row(self, statement: Executable, parameters: Parameters | None = None) -> AnyRow | None:
        found = await self.rows(statement, parameters)
        return found[0] if found else None

    async def parts(
        self, statement: Executable, parameters: Parameters | None = None
    ) -> AsyncIterator[Sequence[AnyRow]]:
        """Yield the rows of a long answer part by part, letting others work in between. Raises StoreUnavailable."""
        with domain_errors():
            async with self._connection.stream(statement, parameters) as result:
                async for part in result.partitions(PART_SIZE):
                    yield part

    async def change(self, statement: Executable, parameters: Parameters | Sequence[Parameters]) -> int:
        """Run a writing statement and return how many rows it touched. Raises StoreUnavailable."""
        if not self._is_writable:
            raise InvalidRequestError(
                "This unit of work was opened for reading: begin(write=True) to change something."
            )
        with domain_errors():
            return (await self._connection.execute(statement, parameters)).rowcount

    async def commit(self) -> None:
        with domain_errors():
            await self._connection.commit()
