"""Hints to look again: a set of keys for each listener, so that a slow listener costs nothing but its own delay."""

import asyncio
from collections.abc import AsyncIterator


class Hints:
    """`tell` is heard by everyone who is in `listen` at that moment. The same key told twice may be heard once."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()

    def tell(self, key: str) -> None:
        for listener in self._listeners:
            listener.keys[key] = None
            listener.is_told.set()

    async def listen(self) -> AsyncIterator[str]:
        """Yield keys in the order told, for ever."""
        listener = _Listener()
        self._listeners.add(listener)
        try:
            while True:
                await listener.is_told.wait()
                listener.is_told.clear()
                while listener.keys:
                    key = next(iter(listener.keys))
                    del listener.keys[key]
                    yield key
        finally:
            self._listeners.discard(listener)


class _Listener:
    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.is_told = asyncio.Event()
