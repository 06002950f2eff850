"""What becomes of each message between the kernel and rclone: most pass, some are noted, few are answered here.

A write that does not fit is refused with EDQUOT, "Disk quota exceeded", which programs show as it stands; ENOSPC would
have them speak of a full disk. What a user who is over the quota makes smaller passes, and a new file of no size does.
"""

import errno
import os
import stat
from collections.abc import Callable

from fanlight.agent.gate.files import File, Files, Name
from fanlight.agent.gate.ledger import Ledger, Room
from fanlight.agent.gate.messages import (
    EXCHANGE,
    HEADER_IN,
    HEADER_OUT,
    OLDEST_MINOR,
    Entry,
    Head,
    Malformed,
    Message,
    Op,
    attributes_in,
    end_of_fallocate,
    entry_in,
    forgotten_in,
    head_of,
    head_of_answer,
    minor_of_init,
    name_in,
    new_size_of,
    refusal,
    statfs_answer,
    two_names_in,
    u32_at,
    u64_at,
    write_of,
)

_Noted = Callable[[Message, int], None]  # what to do with the answer, and its error


class Rules:
    """Pure: what is told changes what is known, and nothing else happens."""

    def __init__(self, room: Room) -> None:
        self.files, self.ledger = Files(), Ledger(room)
        self._awaited: dict[int, _Noted] = {}
        self._is_understood = True
        self._asks: dict[int, Callable[[Head, Message], bytes | None]] = {
            Op.LOOKUP: self._lookup,
            Op.FORGET: self._forget,
            Op.BATCH_FORGET: self._forget_many,
            Op.GETATTR: self._getattr,
            Op.SETATTR: self._setattr,
            Op.MKNOD: self._make,
            Op.CREATE: self._create,
            Op.OPEN: self._open,
            Op.RELEASE: self._release,
            Op.WRITE: self._write,
            Op.FALLOCATE: self._fallocate,
            Op.UNLINK: self._unlink,
            Op.RENAME: self._rename,
            Op.RENAME2: self._rename_with_flags,
            Op.STATFS: self._statfs,
            Op.INIT: self._init,
        }

    def mark(self) -> None:
        self.ledger.mark()
        self.files.mark()

    def look(self, room: Room, *, unsent: int, is_quiet: bool) -> None:
        self.ledger.look(room, in_work=self.files.in_work, unsent=unsent, is_quiet=is_quiet)
        if is_quiet:
            self.files.settle()

    def ask(self, message: Message) -> bytes | None:
        """The kernel says this. Return the answer, if rclone need not be asked."""
        try:
            head = head_of(message)
            does = self._asks.get(head.op)
            return does(head, message) if does is not None and self._is_understood else None
        except Malformed:
            return None

    def answer(self, message: Message) -> None:
        """rclone says this, asked or not."""
        try:
            error, unique = head_of_answer(message)
            if unique and (note := self._awaited.pop(unique, None)) is not None:
                note(message, error)
        except Malformed:
            return

    # ── What is learnt ────────────────────────────────────────────────────────────────────────────────────────────

    def _await(self, head: Head, note: Callable[[Message], object]) -> None:
        """Call `note` with the answer if that is no error."""
        self._awaited[head.unique] = lambda message, error: None if error else _ignore(note(message))

    def _init(self, head: Head, _: Message) -> None:
        def note(message: Message) -> None:
            major, minor = minor_of_init(message)
            self._is_understood = major == 7 and minor >= OLDEST_MINOR  # noqa: PLR2004 - FUSE's, the only one

        self._await(head, note)

    def _lookup(self, head: Head, message: Message) -> None:
        name = head.node, name_in(message, HEADER_IN)
        self._await(head, lambda answer: self._learn(entry_in(answer), name))

    def _make(self, head: Head, message: Message) -> None:
        name = head.node, name_in(message, HEADER_IN + 16)
        self._await(head, lambda answer: self._learn(entry_in(answer), name))

    def _create(self, head: Head, message: Message) -> None:
        name = head.node, name_in(message, HEADER_IN + 16)

        def note(answer: Message) -> None:
            if (file := self._learn(entry_in(answer), name)) is not None:
                self.files.open(file)

        self._await(head, note)

    def _learn(self, entry: Entry, name: Name) -> File | None:
        if not entry.node or not stat.S_ISREG(entry.mode):
            return None
        return self.files.learn(entry.node, entry.size, name)

    def _getattr(self, head: Head, _: Message) -> None:
        if self.files.get(head.node) is not None:
            self._await(head, lambda answer: self.files.learn(head.node, attributes_in(answer)[0]))

    def _forget(self, head: Head, message: Message) -> None:
        self.files.forget(head.node, u64_at(message, HEADER_IN))

    def _forget_many(self, _: Head, message: Message) -> None:
        for node, times in forgotten_in(message):
            self.files.forget(node, times)

    def _open(self, head: Head, message: Message) -> None:
        is_emptied = bool(u32_at(message, HEADER_IN) & os.O_TRUNC)
        if (file := self.files.get(head.node)) is None:
            return

        def note(_: Message) -> None:
            self.files.open(file)
            if is_emptied:
                self._change(head.node, file, 0)

        self._await(head, note)

    def _release(self, head: Head, _: Message) -> None:
        if (file := self.files.get(head.node)) is None:
            return

        def note(_: Message, __: int) -> None:
            file.opens = max(0, file.opens - 1)

        self._awaited[head.unique] = note

    # ── What makes files larger ───────────────────────────────────────────────────────────────────────────────────

    def _change(self, node: int, file: File, size: int) -> None:
        self.ledger.change(self.files.change(node, file, size))

    def _fits(self, file: File, size: int) -> bool:
        if self.ledger.limit is None or file.is_gone or size <= file.size:
            return True
        return size <= (file.stored or 0) or size - file.size <= self.ledger.left

    def _write(self, head: Head, message: Message) -> bytes | None:
        offset, size = write_of(message)
        file = self.files.get(head.node) or self.files.learn(head.node, offset)  # then all of it counts
        before, end = file.size, offset + size
        if not self._fits(file, end):
            return refusal(head.unique, errno.EDQUOT)
        # At once, or what is written to many files at a time would not be counted.
        self._change(head.node, file, max(before, end))

        def note(answer: Message, error: int) -> None:
            written = 0 if error else u32_at(answer, HEADER_OUT)
            if written < size and file.size == end:
                self._change(head.node, file, max(before, offset + written))

        if end > before:
            self._awaited[head.unique] = note
        return None

    def _setattr(self, head: Head, message: Message) -> bytes | None:
        size, file = new_size_of(message), self.files.get(head.node)
        if size is None or file is None:
            return None
        if not self._fits(file, size):
            return refusal(head.unique, errno.EDQUOT)
        self._await(head, lambda _: self._change(head.node, file, size))
        return None

    def _fallocate(self, head: Head, message: Message) -> bytes | None:
        end, file = end_of_fallocate(message), self.files.get(head.node)
        if end is None or file is None:
            return None
        if not self._fits(file, end):
            return refusal(head.unique, errno.EDQUOT)
        self._await(head, lambda _: self._change(head.node, file, max(file.size, end)))
        return None

    # ── What gives room back ──────────────────────────────────────────────────────────────────────────────────────

    def _unlink(self, head: Head, message: Message) -> None:
        name = head.node, name_in(message, HEADER_IN)
        self._await(head, lambda _: self.ledger.remove(self.files.remove(name)))

    def _rename(self, head: Head, message: Message) -> None:
        old, new = two_names_in(message, HEADER_IN + 8)
        to = u64_at(message, HEADER_IN), new
        self._await(head, lambda _: self.ledger.remove(self.files.rename((head.node, old), to)))

    def _rename_with_flags(self, head: Head, message: Message) -> None:
        old, new = two_names_in(message, HEADER_IN + 16)
        was, to = (head.node, old), (u64_at(message, HEADER_IN), new)

        def exchange(_: Message) -> None:
            self.files.forget_name(was)
            self.files.forget_name(to)

        def rename(_: Message) -> None:
            self.ledger.remove(self.files.rename(was, to))

        self._await(head, exchange if u32_at(message, HEADER_IN + 8) & EXCHANGE else rename)

    def _statfs(self, head: Head, _: Message) -> bytes | None:
        if self.ledger.limit is None:
            return None
        return statfs_answer(head.unique, self.ledger.limit, self.ledger.left)


def _ignore(_: object) -> None:
    return None
