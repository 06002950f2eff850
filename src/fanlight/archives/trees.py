"""The root file system that the layers of an archive add up to; a plain tarball is one layer.

Every rule about how members stand to each other is here: what is above a member is a directory and nothing else, a hard
link leads to a file that is there, a layer takes away only what lower layers brought.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.tar_reader import Kind, Member

# Made by the instance when it starts: directories here, whatever the archive has.
EMPTIED = {"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "tmp": 0o1777}
# Where the host mounts into the instance, and so never behind a link.
MOUNT_POINTS = ("run/fanlight/host", "run/fanlight/guest", "opt/fanlight/runtime")
_LEFT_OUT = (".dockerenv",)
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Inode:
    """Where the content of a file stands: the number of its layer, and of its member in there."""

    layer: int
    index: int


@dataclass(frozen=True, slots=True)
class Node:
    member: Member
    layer: int
    inode: Inode


class Tree:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._children: dict[str, set[str]] = {"": set()}
        self.root = Member("", Kind.DIRECTORY, 0o755, 0, 0, 0)
        self.left_out = 0
        self._emptied: set[tuple[int, str]] = set()

    def add(self, member: Member, inode: Inode, *, has_whiteouts: bool) -> None:
        """Raises ArchiveRefused."""
        path, layer = member.path, inode.layer
        if not path:
            if member.kind is not Kind.DIRECTORY:
                raise ArchiveRefused(f"The root of the file system is a {member.kind.value}.")
            self.root = member
            return
        if path.partition("/")[0] in EMPTIED or path in _LEFT_OUT:
            self.left_out += 1
            return
        directory, _, name = path.rpartition("/")
        if has_whiteouts and name.startswith(_WHITEOUT):
            self._take_away(directory, name, layer)
            return
        if member.kind in (Kind.DEVICE, Kind.PIPE):
            raise ArchiveRefused(f"{path!r} is a {member.kind.value}: files, directories and links are taken.")
        self._make_directories(directory, layer, inode)
        self._make_room(member, layer)
        if member.kind is Kind.HARD_LINK:
            self._put(path, self._linked(member, layer))
        else:
            self._put(path, Node(member, layer, inode))

    def resolve(self, path: str) -> Node | None:
        """Return what an absolute path means inside, links followed; None when that is nothing."""
        parts = [part for part in path.split("/") if part][::-1]
        at: list[str] = []
        for _ in range(40 + limits.MAX_DEPTH * 4):
            if not parts:
                return self.nodes.get("/".join(at))
            part = parts.pop()
            if part == "..":
                at = at[:-1]
                continue
            node = self.nodes.get("/".join((*at, part)))
            if node is None:
                return None
            if node.member.kind is not Kind.SYMLINK:
                at.append(part)
                continue
            if node.member.target.startswith("/"):
                at = []
            parts += [step for step in node.member.target.split("/") if step not in ("", ".")][::-1]
        return None

    def is_program(self, path: str) -> bool:
        node = self.resolve(path)
        return node is not None and node.member.kind is Kind.FILE and bool(node.member.mode & 0o111)

    def paths_by_inode(self) -> dict[Inode, list[str]]:
        """Return where each file that is left stands; more than one place: hard links."""
        found: dict[Inode, list[str]] = {}
        for path in sorted(self.nodes):
            node = self.nodes[path]
            if node.member.kind is Kind.FILE:
                found.setdefault(node.inode, []).append(path)
        return found

    def of_kind(self, kind: Kind) -> Iterator[Member]:
        return (
            replace(node.member, path=path) for path, node in sorted(self.nodes.items()) if node.member.kind is kind
        )

    def check_mount_points(self) -> None:
        """Raises ArchiveRefused when something else than a directory stands where the host mounts."""
        for point in MOUNT_POINTS:
            steps = point.split("/")
            for depth in range(1, len(steps) + 1):
                node = self.nodes.get("/".join(steps[:depth]))
                if node is not None and node.member.kind is not Kind.DIRECTORY:
                    raise ArchiveRefused(f"'/{'/'.join(steps[:depth])}' must be a directory: the host mounts there.")

    def _linked(self, member: Member, layer: int) -> Node:
        target = self.nodes.get(member.target)
        if target is None or target.member.kind is not Kind.FILE or member.target == member.path:
            raise ArchiveRefused(f"{member.path!r} is a hard link to {member.target!r}, which is no file before it.")
        return replace(target, layer=layer)

    def _make_directories(self, directory: str, layer: int, inode: Inode) -> None:
        """Make the directories above a member that the archive did not name."""
        missing = []
        while directory:
            node = self.nodes.get(directory)
            if node is not None and node.member.kind is Kind.DIRECTORY:
                break
            if node is not None and node.layer == layer:
                raise ArchiveRefused(f"Something stands below {directory!r}, which is a {node.member.kind.value}.")
            if node is not None:
                raise ArchiveRefused(
                    f"A layer writes through {directory!r}, a {node.member.kind.value} of a lower layer."
                )
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        for path in reversed(missing):
            self._put(path, Node(Member(path, Kind.DIRECTORY, 0o755, 0, 0, 0), layer, inode))

    def _make_room(self, member: Member, layer: int) -> None:
        """Let go what the member replaces. Two kinds of one name in one layer is how archives lie."""
        there = self.nodes.get(member.path)
        if there is None or (there.member.kind is Kind.DIRECTORY) == (member.kind is Kind.DIRECTORY):
            return
        if there.layer == layer:
            raise ArchiveRefused(f"{member.path!r} is both a {there.member.kind.value} and a {member.kind.value}.")
        self._remove(member.path, layer)
        if member.path in self.nodes:
            raise ArchiveRefused(f"{member.path!r} is both a directory and a {member.kind.value}.")

    def _take_away(self, directory: str, name: str, layer: int) -> None:
        if name == _OPAQUE:
            if (layer, directory) not in self._emptied:
                self._emptied.add((layer, directory))
                for child in tuple(self._children.get(directory, ())):
                    self._remove(f"{directory}/{child}".lstrip("/"), layer)
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", "..") or hidden.startswith(_WHITEOUT):
            raise ArchiveRefused(f"{directory}/{name!r} takes away nothing that can be named.")
        self._remove(f"{directory}/{hidden}".lstrip("/"), layer)

    def _remove(self, path: str, layer: int) -> None:
        """Remove what lower layers have there and below; directories with something of this layer stay."""
        stack, order = [path], []
        while stack:
            at = stack.pop()
            order.append(at)
            stack += [f"{at}/{child}" for child in self._children.get(at, ())]
        for at in reversed(order):
            node = self.nodes.get(at)
            if node is not None and node.layer < layer and not self._children.get(at):
                del self.nodes[at]
                self._children.pop(at, None)
                directory, _, name = at.rpartition("/")
                self._children[directory].discard(name)

    def _put(self, path: str, node: Node) -> None:
        if len(self.nodes) >= limits.MAX_MEMBERS and path not in self.nodes:
            raise ArchiveRefused(f"The file system has more than {limits.MAX_MEMBERS:,} members.")
        self.nodes[path] = node
        directory, _, name = path.rpartition("/")
        self._children[directory].add(name)
        if node.member.kind is Kind.DIRECTORY:
            self._children.setdefault(path, set())
