"""What becomes of FUSE's messages before a folder with a quota: crafted messages in, answers out."""

import errno
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlight.agent.gate import files as known_files
from fanlight.agent.gate.ledger import Ledger, Room
from fanlight.agent.gate.messages import Op
from fanlight.agent.gate.rules import Rules
from fanlight.agent.gate.serving import Gate, GateNews

TOP = 1  # the number of the uppermost directory
FILE, FOLDER = stat.S_IFREG | 0o600, stat.S_IFDIR | 0o700
REFUSED = -errno.EDQUOT


def request(op: int, body: bytes = b"", node: int = TOP, unique: int = 1) -> bytes:
    return struct.pack("=IIQQIIII", 40 + len(body), op, unique, node, 1000, 1000, 1, 0) + body


def answer(body: bytes = b"", unique: int = 1, error: int = 0) -> bytes:
    return struct.pack("=IiQ", 16 + len(body), error, unique) + body


def attributes(size: int, mode: int = FILE) -> bytes:
    return struct.pack("=6Q10I", 1, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 1000, 1000, 0, 0, 0)


def entry(node: int, size: int, mode: int = FILE) -> bytes:
    return struct.pack("=4QII", node, 0, 1, 1, 0, 0) + attributes(size, mode)


@dataclass
class Kernel:
    """Asks, and has rclone answer as it usually does. What is refused returns the error."""

    rules: Rules
    sizes: dict[int, int] = field(default_factory=dict)
    unique: int = 1

    def ask(self, op: int, body: bytes, node: int = TOP, *, says: bytes = b"", error: int = 0) -> int:
        self.unique += 2
        refused = self.rules.ask(memoryview(request(op, body, node, self.unique)))
        if refused is not None:
            _, number, unique = struct.unpack("=IiQ", refused)
            assert unique == self.unique
            return int(number)
        self.rules.answer(memoryview(answer(says if not error else b"", self.unique, error)))
        return error

    def look_up(self, name: bytes, node: int, size: int) -> None:
        self.sizes[node] = size
        self.ask(Op.LOOKUP, name + b"\0", says=entry(node, size))

    def create(self, name: bytes, node: int) -> None:
        self.sizes[node] = 0
        self.ask(Op.CREATE, bytes(16) + name + b"\0", says=entry(node, 0) + bytes(16))

    def open(self, node: int, flags: int = os.O_RDWR) -> None:
        self.ask(Op.OPEN, struct.pack("=II", flags, 0), node, says=bytes(16))

    def write(self, node: int, offset: int, size: int, *, written: int | None = None, error: int = 0) -> int:
        body = struct.pack("=QQIIQII", 7, offset, size, 0, 0, 0, 0) + b"x"  # the data does not matter
        said = struct.pack("=II", size if written is None else written, 0)
        return self.ask(Op.WRITE, body, node, says=said, error=error)

    def truncate(self, node: int, size: int, *, error: int = 0) -> int:
        body = struct.pack("=IIQQ", 8, 0, 0, size) + bytes(64)
        return self.ask(Op.SETATTR, body, node, says=bytes(16) + attributes(size), error=error)

    def allocate(self, node: int, offset: int, length: int, mode: int = 0) -> int:
        return self.ask(Op.FALLOCATE, struct.pack("=QQQII", 7, offset, length, mode, 0), node)

    def close(self, node: int) -> None:
        self.ask(Op.RELEASE, bytes(24), node)

    def unlink(self, name: bytes, *, error: int = 0) -> None:
        self.ask(Op.UNLINK, name + b"\0", error=error)

    def rename(self, old: bytes, new: bytes) -> None:
        self.ask(Op.RENAME, struct.pack("=Q", TOP) + old + b"\0" + new + b"\0")


@pytest.fixture
def kernel() -> Kernel:
    """With room for 1,000 bytes, of which 600 are used by a file `old`, number 2."""
    made = Kernel(Rules(Room(limit=1000, used=600)))
    made.look_up(b"old", 2, 600)
    made.open(2)
    return made


def left(kernel: Kernel) -> int:
    return kernel.rules.ledger.left


def look(kernel: Kernel, used: int, unsent: int = 0) -> None:
    kernel.rules.mark()
    kernel.rules.look(Room(limit=1000, used=used), unsent=unsent, is_quiet=not unsent)


def test_what_fits_passes_and_what_does_not_is_refused(kernel: Kernel) -> None:
    kernel.create(b"new", 3)
    assert kernel.write(3, 0, 300) == 0
    assert kernel.write(3, 300, 101) == REFUSED
    assert left(kernel) == 100
    assert kernel.write(3, 300, 100) == 0
    assert kernel.write(3, 400, 1) == REFUSED
    assert kernel.write(3, 2**64 - 1, 2**32 - 1) == REFUSED


def test_writing_within_a_file_costs_nothing_however_full_it_is(kernel: Kernel) -> None:
    look(kernel, used=1000)
    assert kernel.write(2, 0, 600) == 0
    assert kernel.write(2, 1, 600) == REFUSED


def test_file_that_is_written_anew_may_become_as_large_as_it_was(kernel: Kernel) -> None:
    look(kernel, used=5000)  # a quota that was lowered
    assert kernel.truncate(2, 0) == 0
    assert kernel.write(2, 0, 601) == REFUSED
    assert kernel.write(2, 0, 600) == 0
    kernel.truncate(2, 0)
    kernel.open(2, os.O_WRONLY | os.O_TRUNC)
    assert kernel.write(2, 0, 600) == 0


def test_every_way_to_make_a_file_larger_is_held_to_the_room(kernel: Kernel) -> None:
    assert kernel.truncate(2, 1001) == REFUSED
    assert kernel.allocate(2, 600, 401) == REFUSED
    assert kernel.allocate(2, 0, 5000, mode=1) == 0, "the size stays"
    assert kernel.truncate(2, 900) == 0
    assert left(kernel) == 100
    assert kernel.allocate(2, 900, 100) == 0
    assert left(kernel) == 0


def test_what_rclone_refuses_was_not_written(kernel: Kernel) -> None:
    kernel.create(b"new", 3)
    assert kernel.write(3, 0, 400, error=-errno.EIO) == -errno.EIO
    assert left(kernel) == 400
    kernel.write(3, 0, 400, written=100)
    assert left(kernel) == 300
    kernel.truncate(2, 0, error=-errno.EIO)
    kernel.unlink(b"new", error=-errno.EACCES)
    assert left(kernel) == 300


def test_what_is_removed_or_replaced_makes_room(kernel: Kernel) -> None:
    kernel.create(b"new", 3)
    kernel.write(3, 0, 400)
    kernel.rename(b"new", b"old")
    assert left(kernel) == 600
    kernel.unlink(b"old")
    assert left(kernel) == 1000
    kernel.unlink(b"never heard of")
    kernel.rename(b"never heard of", b"neither")
    assert left(kernel) == 1000
    assert kernel.write(3, 400, 5000) == 0, "what has no name any more is never sent"
    kernel.create(b"another", 3)
    assert kernel.write(3, 0, 1001) == REFUSED, "rclone gave its number to another one"


def test_two_that_change_places_keep_their_sizes(kernel: Kernel) -> None:
    kernel.look_up(b"other", 3, 0)
    kernel.ask(Op.RENAME2, struct.pack("=QII", TOP, 2, 0) + b"old\0other\0")
    kernel.unlink(b"old")
    assert left(kernel) == 400, "until it is asked"
    kernel.look_up(b"other", 2, 600)
    kernel.look_up(b"third", 3, 0)
    kernel.ask(Op.RENAME2, struct.pack("=QII", TOP, 0, 0) + b"third\0other\0")
    assert left(kernel) == 1000


def test_what_is_on_its_way_counts_once(kernel: Kernel) -> None:
    kernel.create(b"new", 3)
    kernel.write(3, 0, 300)
    look(kernel, used=600)
    assert left(kernel) == 100, "it is open"
    kernel.close(3)
    look(kernel, used=600, unsent=300)
    assert left(kernel) == 100, "it waits"
    look(kernel, used=900, unsent=300)
    assert left(kernel) == 100, "it is being sent"
    look(kernel, used=900)
    assert left(kernel) == 100, "it has arrived"
    kernel.unlink(b"new")
    assert left(kernel) == 400


def test_what_others_store_counts_and_what_they_remove_makes_room(kernel: Kernel) -> None:
    look(kernel, used=950)
    assert left(kernel) == 50
    look(kernel, used=0)
    assert left(kernel) == 1000
    kernel.create(b"new", 3)
    kernel.write(3, 0, 800)
    kernel.close(3)
    look(kernel, used=100, unsent=800)  # meanwhile somebody stored that
    look(kernel, used=0, unsent=800)
    assert left(kernel) == 200


def test_what_is_opened_again_while_somebody_asks_is_not_taken_for_sent(kernel: Kernel) -> None:
    kernel.create(b"new", 3)
    kernel.write(3, 0, 300)
    kernel.close(3)
    kernel.rules.mark()
    kernel.open(3)
    kernel.truncate(3, 0)
    kernel.write(3, 0, 400)
    # rclone has taken it out of its queue: it is open.
    kernel.rules.look(Room(limit=1000, used=600), unsent=0, is_quiet=True)
    assert left(kernel) == 0
    kernel.close(3)
    look(kernel, used=1000)
    assert left(kernel) == 0


def test_what_is_removed_while_somebody_asks_is_not_counted_off_twice(kernel: Kernel) -> None:
    kernel.rules.mark()
    kernel.unlink(b"old")
    kernel.rules.look(Room(limit=1000, used=0), unsent=0, is_quiet=True)
    assert left(kernel) == 1000


def test_room_is_what_is_told_to_who_asks_for_it(kernel: Kernel) -> None:
    rules = Rules(Room(limit=10 << 20, used=1 << 20))
    said = rules.ask(request(Op.STATFS, unique=9))
    assert said is not None
    length, error, unique, blocks, free, available, *_, size, names, unit = struct.unpack("=IiQQQQQQIII28x", said)
    assert (length, error, unique, len(said)) == (96, 0, 9, 96)
    assert (blocks * unit, free * unit, available * unit) == (10 << 20, 9 << 20, 9 << 20)
    assert (size, names) == (4096, 255)
    look(kernel, used=5000)
    assert left(kernel) < 0
    assert struct.unpack_from("=QQ", kernel.rules.ask(request(Op.STATFS)) or b"", 24) == (0, 0)


def test_a_limit_that_was_lifted_lets_everything_pass(kernel: Kernel) -> None:
    kernel.rules.mark()
    kernel.rules.look(Room(limit=None, used=0), unsent=0, is_quiet=True)
    assert kernel.write(2, 0, 10**9) == 0
    assert kernel.rules.ask(request(Op.STATFS)) is None


def test_a_protocol_that_is_not_known_passes_untouched() -> None:
    rules = Rules(Room(limit=1, used=1))
    kernel = Kernel(rules)
    kernel.ask(Op.INIT, struct.pack("=IIII", 7, 44, 0, 0), says=struct.pack("=II", 7, 8) + bytes(56))
    assert kernel.write(5, 0, 100) == 0


def test_what_the_kernel_forgets_is_forgotten_unless_it_is_open(kernel: Kernel) -> None:
    files = kernel.rules.files
    kernel.look_up(b"a", 3, 5)
    kernel.look_up(b"a", 3, 5)
    kernel.look_up(b"b", 4, 5)
    kernel.rules.ask(request(Op.FORGET, struct.pack("=Q", 1), node=3))
    assert files.get(3)
    pairs = struct.pack("=II", 900, 0) + struct.pack("=QQ", 3, 1) + struct.pack("=QQ", 4, 1) + struct.pack("=QQ", 2, 9)
    kernel.rules.ask(request(Op.BATCH_FORGET, pairs))
    assert (files.get(3), files.get(4)) == (None, None)
    assert files.get(2), "it is open"


def test_so_many_files_are_known_and_no_more(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_files, "MANY", 10)
    for node in range(10, 40):
        kernel.look_up(b"%d" % node, node, 1)
    assert len(kernel.rules.files) == 10
    assert kernel.rules.files.get(2), "what is open stays"
    assert kernel.write(12, 0, 500) == REFUSED, "of what is not known all counts"


def test_folders_and_names_that_are_not_there_are_not_kept(kernel: Kernel) -> None:
    before = len(kernel.rules.files)
    kernel.ask(Op.LOOKUP, b"folder\0", says=entry(8, 4096, FOLDER))
    kernel.ask(Op.LOOKUP, b"nothing\0", says=entry(0, 0, 0))
    kernel.ask(Op.LOOKUP, b"nothing\0", error=-errno.ENOENT)
    assert len(kernel.rules.files) == before


@given(
    message=st.binary(max_size=120),
    op=st.sampled_from([*Op, 0, 15, 36, 99]),
    node=st.integers(0, 5),
    cut=st.integers(0, 200),
)
@settings(max_examples=400, deadline=None)
def test_no_message_breaks_it(message: bytes, op: int, node: int, cut: int) -> None:
    rules = Rules(Room(limit=1000, used=0))
    kernel = Kernel(rules)
    kernel.look_up(b"old", 2, 600)
    whole = request(op, message, node, unique=77)
    rules.ask(memoryview(whole[:cut]))
    rules.ask(memoryview(whole))
    rules.answer(memoryview(answer(message, unique=77)[:cut]))
    rules.answer(memoryview(answer(message, unique=77)))
    rules.ask(memoryview(struct.pack("=I", cut) + whole[4:]))
    rules.answer(memoryview(message))
    rules.mark()
    rules.look(Room(limit=1000, used=0), unsent=0, is_quiet=True)


def test_a_look_that_nobody_began_says_nothing_but_the_limit() -> None:
    ledger = Ledger(Room(limit=100, used=10))
    ledger.look(Room(limit=50, used=49), in_work=0, unsent=0, is_quiet=True)
    assert ledger.left == 40


# ── The process ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Ends:
    """The other ends of what a gate has: `kernel` in the place of the device."""

    kernel: socket.socket
    rclone: socket.socket
    news: GateNews
    gate: threading.Thread


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    (kernel, device), (rclone, other) = pairs
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear:
        ear.bind(str(tmp_path / "g"))
        gate = Gate(device.fileno(), other, ear, Rules(Room(limit=100, used=0)))
        thread = threading.Thread(target=gate.run, daemon=True)
        thread.start()
        for one in (kernel, rclone):
            one.settimeout(60)
        yield Ends(kernel, rclone, GateNews(tmp_path / "g"), thread)
        rclone.close()
        thread.join(60)
        assert not thread.is_alive(), "the end of rclone is its end"
        for one in (kernel, device, other):
            one.close()


def test_messages_pass_whole_in_both_ways_and_what_does_not_fit_comes_back(ends: Ends) -> None:
    body = struct.pack("=QQIIQII", 7, 0, 101, 0, 0, 0, 0)
    ends.kernel.send(request(Op.WRITE, body, 5, unique=3))
    assert ends.kernel.recv(1000) == struct.pack("=IiQ", 16, REFUSED, 3)
    large = request(15, os.urandom(100_000), 5, unique=5)
    ends.kernel.send(large)
    assert ends.rclone.recv(1 << 20) == large
    for said in (answer(os.urandom(100_000), unique=5), answer(b"unasked", unique=0)):
        ends.rclone.send(said)
        assert ends.kernel.recv(1 << 20) == said


def test_what_rclone_does_not_take_at_once_waits_for_it(ends: Ends) -> None:
    sent = [request(15, bytes(50_000), 5, unique=number) for number in range(1, 40)]
    sending = threading.Thread(target=lambda: [ends.kernel.send(one) for one in sent], daemon=True)
    sending.start()
    ends.rclone.send(answer(unique=99))
    assert ends.kernel.recv(100) == answer(unique=99), "answers pass meanwhile"
    assert [ends.rclone.recv(1 << 20) for _ in sent] == sent
    sending.join(60)


def test_news_change_the_room(ends: Ends) -> None:
    ends.news.mark()
    ends.news.look(Room(limit=10 << 20, used=1 << 20), unsent_files=0, unsent=0)
    while True:
        ends.kernel.send(request(Op.STATFS, unique=3))
        blocks, free = struct.unpack_from("=QQ", ends.kernel.recv(1000), 16)
        if blocks:
            break
    assert (blocks, free) == (10 << 8, 9 << 8)
