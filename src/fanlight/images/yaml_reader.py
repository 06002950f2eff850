"""Read YAML strictly: unknown, missing and repeated keys and wrong types are errors that name file, line and key."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

T = TypeVar("T")


class RecipeInvalid(Exception):
    """The recipe cannot be used. The text says where, what, and what to do."""


class Value:
    """One place in a YAML document."""

    def __init__(self, node: yaml.Node, name: str, file: str) -> None:
        self._node, self._name, self._file = node, name, file

    def refuse(self, why: str) -> NoReturn:
        where = f"{self._file}, line {self._node.start_mark.line + 1}"
        raise RecipeInvalid(f"{where}: {self._name + ': ' if self._name else ''}{why}")

    def text(self, accepts: Callable[[str], bool] = lambda _: True, expected: str = "") -> str:
        """Return a string that `accepts` takes; `expected` finishes the sentence "must be …"."""
        if not isinstance(self._node, yaml.ScalarNode):
            self.refuse(f"must be {expected or 'a text'}, not a list or a mapping.")
        value = str(self._node.value)
        if "\0" in value or not accepts(value):
            self.refuse(f"must be {expected or 'a text'}; it is {value!r}.")
        return value

    @property
    def is_mapping(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    def is_text(self, text: str) -> bool:
        return isinstance(self._node, yaml.ScalarNode) and self._node.value == text

    def items(self, read: Callable[["Value"], T]) -> tuple[T, ...]:
        if not isinstance(self._node, yaml.SequenceNode):
            self.refuse("must be a list: one `- …` per entry.")
        return tuple(read(Value(each, f"{self._name}[{i}]", self._file)) for i, each in enumerate(self._node.value))

    def members(self, *, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, "Value"]:
        if not isinstance(self._node, yaml.MappingNode):
            self.refuse(f"must be a mapping with the keys {', '.join(required)}.")
        members: dict[str, Value] = {}
        for key_node, value_node in self._node.value:
            key = str(key_node.value)
            here = Value(key_node, f"{self._name}.{key}" if self._name else key, self._file)
            if key not in (*required, *optional):
                here.refuse(f"is no key of a recipe. Known here: {', '.join((*required, *optional))}.")
            if key in members:
                here.refuse("stands twice. Remove one.")
            members[key] = Value(value_node, f"{self._name}.{key}" if self._name else key, self._file)
        if missing := [key for key in required if key not in members]:
            self.refuse(f"the key {missing[0]} is missing. Add it.")
        return members


def read_document(path: Path) -> Value:
    """Return the top of a file's only document. Raises RecipeInvalid."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeInvalid(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise RecipeInvalid(f"{where}: is not YAML: {getattr(error, 'problem', None) or error}.") from error
    if node is None:
        raise RecipeInvalid(f"{path}: is empty. Copy images/fanlight-sample.yaml and change it.")
    return Value(node, "", str(path))
