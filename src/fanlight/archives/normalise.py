"""Read an archive twice, write a clean tarball once, and report what an administrator has to know of it.

First every layer is walked and the tree of the root file system made, and small files are kept that say what the image
has. Then the contents of the files that are left are copied: directories first, files as they come, links last.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.compression import FilePart, decompressed, magic_of
from fanlight.archives.layers import Layers, check_digest, find_layers
from fanlight.archives.tar_reader import Content, Kind, Member, read_members
from fanlight.archives.tar_writer import TarWriter, Writable
from fanlight.archives.trees import EMPTIED, MOUNT_POINTS, Inode, Tree
from fanlight.domain.desktop_entries import DIRECTORY as DESKTOP_ENTRIES
from fanlight.domain.desktop_entries import find_applications
from fanlight.domain.images import Application

# What an instance is started with (`fanlight.agent`); the agent itself and the streaming come with the host.
PROGRAMS = ("/usr/bin/Xvfb", "/usr/bin/openbox", "/usr/bin/pulseaudio", "/usr/bin/dbus-daemon", "/bin/sh")
ACCOUNTS = {"user": 1000, "display": 1001}
ACCOUNTS_FILE = "etc/passwd"
# Empty in an image: the first start of an instance fills them.
_BLANKED = ("etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf")
_ICON_PLACES = ("usr/share/icons/", "usr/share/pixmaps/")
_ICON_ENDINGS = (".png", ".xpm")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The catalogue that the request gives: application name → icon path (empty: none), and what it launches.

    None: applications are found as desktop entries.
    """

    icons: Mapping[str, str]
    programs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """`missing` says in words what a session needs and the archive lacks. Empty: it can become an image."""

    applications: tuple[Application, ...]
    icons: Mapping[str, bytes]  # by application; pictures as they are in the archive
    missing: tuple[str, ...]
    members: int
    size_in_bytes: int
    left_out: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "icons": {name: base64.b64encode(data).decode() for name, data in self.icons.items()},
        }


def normalise(
    descriptor: int,
    size: int,
    target: Writable,
    wanted: Wanted | None,
    draw: Callable[[bytes], bytes | None],
    *,
    prefix: str = "",
) -> Report:
    """Write the tarball and return the report. `draw` makes a clean picture of one. Raises ArchiveRefused.

    With a `prefix` (such as "rootfs/") only what stands below it counts, and devices and pipes are left out instead of
    refused: so an engine writes down the root file system of an instance.
    """
    layers = find_layers(descriptor, size, prefix)
    tree, kept = _read_tree(descriptor, layers)
    tree.check_mount_points()
    if not tree.nodes:
        raise ArchiveRefused("The archive is empty.")
    passwd = _kept_at(tree, kept, ACCOUNTS_FILE)
    applications, icon_paths = _applications(tree, kept, wanted)
    icons_by_inode: dict[Inode, list[str]] = {}
    for name, path in icon_paths.items():
        node = tree.resolve(path)
        if node is not None and node.member.kind is Kind.FILE and node.member.size <= limits.MAX_ICON_IN_BYTES:
            icons_by_inode.setdefault(node.inode, []).append(name)
    pictures = _write(descriptor, layers, tree, target, frozenset(icons_by_inode))
    icons: dict[str, bytes] = {}
    for inode, names in icons_by_inode.items():
        drawn = draw(pictures[inode]) if inode in pictures else None
        icons |= dict.fromkeys(names, drawn) if drawn else {}
    return Report(
        applications=applications,
        icons=icons,
        missing=tuple(_missing(tree, passwd, wanted, icons)),
        members=len(tree.nodes),
        size_in_bytes=sum(node.member.size for node in tree.nodes.values()),
        left_out=tree.left_out,
    )


def _members(descriptor: int, layers: Layers, number: int) -> Iterator[tuple[Member, Content, Inode]]:
    if layers.disk is not None:
        for index, (member, content) in enumerate(layers.disk.members()):
            yield member, content, Inode(number, index)
        return
    layer = layers.layers[number]
    part = FilePart(descriptor, layer.offset, layer.size)
    stream = decompressed(part, magic_of(descriptor, layer.offset))
    for index, (member, content) in enumerate(read_members(stream)):
        below = _below(member, layers.prefix)
        if below is not None:
            yield below, content, Inode(number, index)
    check_digest(part, layer.digest)


def _below(member: Member, prefix: str) -> Member | None:
    """Return the member as it stands below the prefix, None when it does not count."""
    if not prefix:
        return member
    if not f"{member.path}/".startswith(prefix) or member.kind in (Kind.DEVICE, Kind.PIPE):
        return None
    return replace(member, path=member.path[len(prefix) :], target=_target_below(member, prefix))


def _target_below(member: Member, prefix: str) -> str:
    """Raises ArchiveRefused for a hard link to what does not count."""
    if member.kind is not Kind.HARD_LINK:
        return member.target
    if not member.target.startswith(prefix):
        raise ArchiveRefused(f"{member.path!r} is a hard link to {member.target!r}, outside of {prefix!r}.")
    return member.target[len(prefix) :]


def _read_tree(descriptor: int, layers: Layers) -> tuple[Tree, dict[Inode, bytes]]:
    tree, total = Tree(), 0
    kept: dict[Inode, bytes] = {}
    for number in range(len(layers.layers)):
        for member, content, inode in _members(descriptor, layers, number):
            tree.add(member, inode, has_whiteouts=layers.has_whiteouts)
            total += member.size
            if total > limits.MAX_TOTAL_IN_BYTES:
                raise ArchiveRefused(f"The layers have more than {limits.MAX_TOTAL_IN_BYTES // 2**30} GiB of content.")
            is_entry = member.path.startswith(DESKTOP_ENTRIES + "/") and member.path.endswith(".desktop")
            is_small = member.size <= limits.MAX_KEPT_IN_BYTES and len(kept) < limits.MAX_KEPT_FILES
            if member.kind is Kind.FILE and is_small and (is_entry or member.path == ACCOUNTS_FILE):
                kept[inode] = content.read()
    return tree, kept


def _write(
    descriptor: int, layers: Layers, tree: Tree, target: Writable, icons: frozenset[Inode]
) -> dict[Inode, bytes]:
    """Write the tarball; return the contents of the icons."""
    writer = TarWriter(target)
    writer.begin(replace(tree.root, mode=tree.root.mode & 0o755 | 0o500))
    for directory in _directories(tree):
        writer.begin(directory)
    paths_of = tree.paths_by_inode()
    pictures: dict[Inode, bytes] = {}
    for number in range(len(layers.layers)):
        for member, content, inode in _members(descriptor, layers, number):
            paths = paths_of.pop(inode, None)
            if member.kind is Kind.FILE and paths is not None:
                picture = _copy(writer, member, content, paths, is_icon=inode in icons)
                if picture is not None:
                    pictures[inode] = picture
    if paths_of:  # the file is ours alone while we read it, so this is a mistake of ours
        raise ArchiveRefused("The archive changed while it was read.")
    for link in tree.of_kind(Kind.SYMLINK):
        if link.path not in _BLANKED:
            writer.begin(link)
    writer.finish()
    return pictures


def _copy(writer: TarWriter, member: Member, content: Content, paths: list[str], *, is_icon: bool) -> bytes | None:
    """Write a file, and a hard link for each further place it has; return its content if it is an icon."""
    is_blank = any(path in _BLANKED for path in paths)
    writer.begin(replace(member, path=paths[0], size=0 if is_blank else member.size))
    picture = []
    for chunk in content.chunks() if not is_blank else ():
        writer.write(chunk)
        if is_icon:
            picture.append(chunk)
    for path in paths[1:]:
        writer.begin(replace(member, path=path, kind=Kind.HARD_LINK, target=paths[0], size=0, capability=b""))
    return b"".join(picture) if is_icon else None


def _directories(tree: Tree) -> list[Member]:
    """Return every directory, each after the one it stands in, with those that the host and the instance need."""
    found = {member.path: member for member in tree.of_kind(Kind.DIRECTORY)}
    for path, mode in EMPTIED.items():
        found[path] = Member(path, Kind.DIRECTORY, mode, 0, 0, 0)
    for point in MOUNT_POINTS:
        steps = point.split("/")
        for depth in range(1, len(steps) + 1):
            path = "/".join(steps[:depth])
            found.setdefault(path, Member(path, Kind.DIRECTORY, 0o755, 0, 0, 0))
    return [found[path] for path in sorted(found)]


def _kept_at(tree: Tree, kept: Mapping[Inode, bytes], path: str) -> str:
    node = tree.nodes.get(path)
    return kept.get(node.inode, b"").decode("utf-8", "replace") if node else ""


def _applications(
    tree: Tree, kept: Mapping[Inode, bytes], wanted: Wanted | None
) -> tuple[tuple[Application, ...], Mapping[str, str]]:
    """Return the applications that were found, and the icon path of each, found or given."""
    if wanted is not None:
        return (), {name: path for name, path in wanted.icons.items() if path}
    entries = {
        path.rpartition("/")[2]: kept[node.inode].decode("utf-8", "replace")
        for path, node in tree.nodes.items()
        if node.inode in kept and path.rpartition("/")[0] == DESKTOP_ENTRIES
    }
    found = find_applications(entries, tree.is_program)
    named = _icons_by_name(tree, {one.icon for one in found})
    icons = {one.application.name: one.icon if one.icon.startswith("/") else named.get(one.icon, "") for one in found}
    return tuple(one.application for one in found), icons


def _icons_by_name(tree: Tree, names: set[str]) -> dict[str, str]:
    """Return the largest bitmap of each name in the icon themes, the application's own theme first."""
    best: dict[str, tuple[tuple[bool, int], str]] = {}
    for path, node in tree.nodes.items():
        if not path.startswith(_ICON_PLACES) or not path.endswith(_ICON_ENDINGS):
            continue
        name = path.rpartition("/")[2][: -len(_ICON_ENDINGS[0])]
        if name in names and node.member.kind in (Kind.FILE, Kind.SYMLINK):
            rank = ("/hicolor/" in path or "/pixmaps/" in path, node.member.size)
            if name not in best or best[name][0] < rank:
                best[name] = (rank, f"/{path}")
    return {name: path for name, (_, path) in best.items()}


def _missing(tree: Tree, passwd: str, wanted: Wanted | None, icons: Mapping[str, bytes]) -> Iterator[str]:
    for program in PROGRAMS:
        if not tree.is_program(program):
            yield f"the program {program}"
    uids = {fields[0]: fields[2] for line in passwd.splitlines() if len(fields := line.split(":")) >= 4}  # noqa: PLR2004
    for name, uid in ACCOUNTS.items():
        if uids.get(name) != str(uid):
            yield f"the account {name} with uid {uid}"
    for name, program in (wanted.programs if wanted else {}).items():
        if not tree.is_program(program):
            yield f"{program}, which the application {name} starts"
    for name, path in (wanted.icons if wanted else {}).items():
        if path and name not in icons:
            yield f"a readable PNG at {path}, the icon of the application {name}"
