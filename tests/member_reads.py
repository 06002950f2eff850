"""Which members of requests the handlers really read: told from the source by the types that their annotations name.

A small inference over one module at a time: parameters have the types of their annotations, and from there it follows
attributes, loops, comprehensions, assignments, `or` and `if`. What it cannot follow counts as not read, so that a handler
that becomes too clever for it fails the test, and an overlooked member does too.
"""

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

Read = tuple[type, str]
Environment = dict[str, tuple[Any, ...]]


def reads_of(*modules: ModuleType) -> frozenset[Read]:
    """Return every (generated class, attribute) that the functions of these modules read."""
    found: set[Read] = set()
    for module in modules:
        tree = ast.parse(inspect.getsource(module))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                _Function(vars(module), found).follow(node, {})
    return frozenset(found)


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _parts(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, others than None."""
    if get_origin(kind) in (Union, UnionType):
        return tuple(part for each in get_args(kind) for part in _parts(each))
    return () if kind is None or kind is type(None) else (kind,)


def _elements(kinds: Iterable[Any]) -> tuple[Any, ...]:
    """Return what iterating over values of these types yields."""
    found: list[Any] = []
    for kind in kinds:
        origin = get_origin(kind)
        if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence | Iterable)):
            found += [part for each in get_args(kind)[:1] for part in _parts(each)]
    return tuple(found)


class _Function(ast.NodeVisitor):
    """Walks one function; `types` collects what variables may be."""

    def __init__(self, names: Mapping[str, Any], found: set[Read]) -> None:
        self._names, self._found = names, found
        self._types: Environment = {}

    def follow(self, function: ast.FunctionDef | ast.AsyncFunctionDef, outer: Environment) -> None:
        self._types = dict(outer)
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.annotation is not None:
                self._types[argument.arg] = self._annotated(argument.annotation)
        for statement in function.body:
            self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        _Function(self._names, self._found).follow(node, self._types)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        _Function(self._names, self._found).follow(node, self._types)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._bind_value(target, node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self._bind(node.target, self._infer(node.value))

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._bind(node.target, _elements(self._infer(node.iter)))
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehend(node.generators, node.elt)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehend(node.generators, node.elt)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehend(node.generators, node.elt)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehend(node.generators, node.key, node.value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._infer(node)
        self.visit(node.value)

    def _comprehend(self, generators: Sequence[ast.comprehension], *inner: ast.expr) -> None:
        for generator in generators:
            self.visit(generator.iter)
            self._bind(generator.target, _elements(self._infer(generator.iter)))
            for condition in generator.ifs:
                self.visit(condition)
        for expression in inner:
            self.visit(expression)

    def _bind_value(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for each, given in zip(target.elts, value.elts, strict=True):
                self._bind(each, self._infer(given))
        else:
            self._bind(target, self._infer(value))

    def _bind(self, target: ast.expr, kinds: tuple[Any, ...]) -> None:
        if isinstance(target, ast.Name):
            self._types[target.id] = (*self._types.get(target.id, ()), *kinds)

    def _annotated(self, annotation: ast.expr) -> tuple[Any, ...]:
        try:
            return _parts(eval(compile(ast.Expression(annotation), "annotation", "eval"), dict(self._names)))
        except NameError:
            return ()

    def _infer(self, node: ast.expr) -> tuple[Any, ...]:  # noqa: PLR0911 - one line for each kind of expression
        match node:
            case ast.Name(id=name):
                return self._types.get(name, ())
            case ast.Attribute(value=value, attr=attribute):
                return tuple(self._members(self._infer(value), attribute))
            case ast.BoolOp(values=values):
                return tuple(part for value in values for part in self._infer(value))
            case ast.IfExp(body=body, orelse=orelse):
                return (*self._infer(body), *self._infer(orelse))
            case ast.NamedExpr(value=value):
                return self._infer(value)
            case ast.Subscript(value=value):
                return _elements(self._infer(value))
            case ast.Call(func=ast.Name(id=name)):
                called = self._names.get(name)
                hint = getattr(called, "__annotations__", {}).get("return") if inspect.isfunction(called) else None
                return _parts(hint) if hint is not None and not isinstance(hint, str) else ()
        return ()

    def _members(self, kinds: Iterable[Any], attribute: str) -> Iterator[Any]:
        for kind in kinds:
            if isinstance(kind, type) and is_dataclass(kind) and attribute in _hints(kind):
                self._found.add((kind, attribute))
                yield from _parts(_hints(kind)[attribute])
