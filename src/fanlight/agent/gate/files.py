"""The files that the kernel knows of: how large they are, and what was changed in them."""

from dataclasses import dataclass

Name = tuple[int, bytes]  # of the directory, and in it
MANY = (
    20_000  # what goes beyond that is forgotten, but for what is open: a removed file's room is seen at the next look
)


@dataclass(slots=True)
class File:
    """`stored` is the size before it was changed, None while nothing of it is unsent; `marked` its size at the mark.

    What is gone has no name any more and is never sent, however much is written to it.
    """

    size: int
    name: Name | None = None
    lookups: int = 0
    opens: int = 0
    stored: int | None = None
    marked: int | None = None
    is_gone: bool = False


class Files:
    """By the numbers that rclone gave them, and by their names.

    `in_work`: by how much those were changed that were open at the mark, or were opened since.
    """

    def __init__(self) -> None:
        self.in_work = 0
        self._files: dict[int, File] = {}
        self._named: dict[Name, int] = {}
        self._changed: dict[int, File] = {}

    def __len__(self) -> int:
        return len(self._files)

    def get(self, node: int) -> File | None:
        return self._files.get(node)

    def learn(self, node: int, size: int, name: Name | None = None) -> File:
        """Somebody says how large it is. Of what was changed here, this is known better here."""
        file = self._files.get(node)
        if file is None:
            self._make_place()
            file = self._files[node] = File(size)
        elif file.stored is None:
            file.size = size
        if name is not None:
            file.is_gone = False  # its number was given to another one
            file.lookups += 1
            self._name(node, file, name)
        return file

    def change(self, node: int, file: File, size: int) -> int:
        """It has that size now; return by how much it has become larger."""
        if file.is_gone:
            return 0
        self._disturb(file)
        if file.stored is None:
            file.stored = file.size
            self._changed[node] = file
        grown, file.size = size - file.size, size
        return grown

    def open(self, file: File) -> None:
        self._disturb(file)
        file.opens += 1

    def remove(self, name: Name) -> int:
        """There is nothing of this name any more; return how large it was."""
        node = self._named.pop(name, None)
        file = None if node is None else self._files.get(node)
        if node is None or file is None:
            return 0
        self._changed.pop(node, None)
        file.is_gone, file.name, file.stored, file.marked = True, None, None, None
        return file.size

    def rename(self, old: Name, new: Name) -> int:
        """Return the size of what was in its place."""
        size = self.remove(new)
        node = self._named.pop(old, None)
        if node is not None:
            self._name(node, self._files[node], new)
        return size

    def forget_name(self, name: Name) -> None:
        node = self._named.pop(name, None)
        if node is not None:
            self._files[node].name = None

    def forget(self, node: int, times: int) -> None:
        """The kernel does not speak of it any more."""
        file = self._files.get(node)
        if file is None:
            return
        file.lookups -= times
        if file.lookups <= 0 and not file.opens:
            self._drop(node, file)

    def mark(self) -> None:
        """Keep how it stands."""
        self.in_work = 0
        for file in self._changed.values():
            file.marked = file.size
            if file.opens:
                self._disturb(file)

    def settle(self) -> None:
        """What was closed at the mark and was left alone since has arrived."""
        for node, file in list(self._changed.items()):
            if file.marked is not None:
                file.stored = file.marked = None
                del self._changed[node]

    def _disturb(self, file: File) -> None:
        """Whether it waits to be sent, is being sent, or has arrived, cannot be known for a while: rclone begins anew."""
        if file.marked is not None:
            self.in_work += file.marked - (file.stored or 0)
            file.marked = None

    def _name(self, node: int, file: File, name: Name) -> None:
        if file.name is not None and file.name != name and self._named.get(file.name) == node:
            del self._named[file.name]
        before = self._named.get(name)
        if before is not None and before != node:
            self._files[before].name = None
        file.name = name
        self._named[name] = node

    def _make_place(self) -> None:
        while len(self._files) >= MANY:
            for node, file in self._files.items():
                if not file.opens:
                    self._drop(node, file)
                    break
            else:
                return

    def _drop(self, node: int, file: File) -> None:
        del self._files[node]
        self._changed.pop(node, None)
        if file.name is not None:
            del self._named[file.name]
