"""Find what a user's criterion changes outside itself, from its source.

A replay leaves out such changes: a count of calls, a list of values, a line in a log. An eager step is always right, so
what is not known to be harmless counts as a change; ordinary loss functions must not.
"""

from __future__ import annotations

import ast
import builtins
import collections
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

from fastnn._core.dtypes import dtype
from fastnn._tensor.tensor import Tensor
from fastnn.capture.guards import Name, is_ours
from fastnn.capture.read_source import NoSource, parsed
from fastnn.nn.module import Module

# Methods that change a list, a dictionary, a set, a file or a queue. Tensors have none of these names.
_CHANGE = frozenset({
    "append", "appendleft", "extend", "extendleft", "insert", "popleft", "popitem", "setdefault", "update", "discard",
    "pop", "remove", "clear", "reverse", "write", "writelines", "writerow", "put_nowait", "get_nowait",
})  # fmt: skip
# Those, and names that tensors have as well.
_OF_CONTAINERS = _CHANGE | {"add", "sort", "rotate", "difference_update", "intersection_update", "move_to_end"}
_CONTAINERS = (list, dict, set, bytearray, collections.deque)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), dtype)
# Functions whose use is a change in any case.
_NEVER = (print, input, open, exec, eval, breakpoint)
# Functions whose result gives access to what they get.
_PASS_ON = (zip, enumerate, getattr, vars, type, iter, reversed, filter, map, globals, locals)
# Methods of modules that make a new iterator.
_ITERATORS = frozenset({
    "parameters", "buffers", "children", "modules", "named_parameters", "named_buffers", "named_children",
    "named_modules",
})  # fmt: skip
# Functions of fastnn that set something for later calls.
_SET = frozenset({"manual_seed", "seed", "set_default_dtype", "set_num_threads", "set_rng_state", "set_printoptions"})
_UNKNOWN: Any = object()
# How much of a value is known: made in the call itself, the result of a function that is not read, or older.
_FRESH, _UNSURE, _OLDER = 0, 1, 2
_DEEPEST = 8


# Packages whose functions return what they make.
_MAKERS = frozenset({"collections", "copy", "functools", "itertools", "math", "numpy", "operator"})


class _Change(Exception):
    """A change that was found; its source text."""


def _package(module: Any) -> str:
    return str(module).partition(".")[0]


def _is_one(value: Any, *others: Any) -> bool:
    """As ``value in others``, by identity: an array cannot be compared."""
    return any(value is other for other in others)


def what_is_changed(criterion: Any) -> str:
    """What a user's criterion changes outside itself, as source text; empty if nothing is found.

    Only the source of the criterion itself is read, and of what it wraps, not what it calls; and nothing is found where
    the source is missing.
    """
    try:
        for function, owner, bound in _functions(criterion, 0):
            try:
                tree = parsed(function)
            except NoSource:
                continue
            _Finder(function, owner, bound).read(tree)
    except _Change as found:
        return str(found)
    return ""


def code_of(criterion: Any) -> list[Name]:
    """The code of the functions that :func:`what_is_changed` reads, by name: IPython's autoreload may replace it."""
    return [(function, "__code__", function.__code__) for function, _, _ in _functions(criterion, 0)]


def _functions(called: Any, depth: int) -> Iterator[tuple[types.FunctionType, Any, tuple[int, frozenset[str]]]]:
    """The user's functions that a callable calls, each with the value of ``self`` and what a ``partial`` binds."""
    if depth > _DEEPEST:
        return
    if isinstance(called, functools.partial):
        plain = all(isinstance(a, _PLAIN) for a in called.args)
        names = frozenset(k for k, v in called.keywords.items() if not isinstance(v, _PLAIN))
        for function, owner, (count, others) in _functions(called.func, depth + 1):
            yield function, owner, (count if plain else count + len(called.args), others | names)
        return
    owner = _UNKNOWN
    if isinstance(called, types.MethodType):
        called, owner = called.__func__, called.__self__
    elif isinstance(called, Module):
        call = inspect.getattr_static(type(called), "__call__", None)
        if isinstance(call, types.FunctionType) and not is_ours(call):
            yield call, called, (0, frozenset())
        called, owner = getattr(type(called), "forward", None), called
    elif not isinstance(called, (types.FunctionType, type)):
        called, owner = inspect.getattr_static(type(called), "__call__", None), called
    # Not by `__module__`, which functools.wraps copies.
    if not isinstance(called, types.FunctionType) or _package(called.__globals__.get("__name__")) == "fastnn":
        return
    yield called, owner, (0, frozenset())
    if (wrapped := called.__dict__.get("__wrapped__")) is not None:
        if owner is not _UNKNOWN and isinstance(wrapped, types.FunctionType):
            wrapped = types.MethodType(wrapped, owner)
        yield from _functions(wrapped, depth + 1)


class _Scope:
    """The names of one function inside the criterion."""

    def __init__(self, above: _Scope | None, parameters: ast.arguments | None) -> None:
        self.above = above
        self.parameters = [] if parameters is None else [
            a.arg for a in (
                *parameters.posonlyargs, *parameters.args, *filter(None, [parameters.vararg]), *parameters.kwonlyargs,
                *filter(None, [parameters.kwarg]),
            )
        ]  # fmt: skip
        self.names = set(self.parameters)
        # Names that other scopes own, and that none of the criterion's owns.
        self.others: set[str] = set()
        self.outside: set[str] = set()
        self.known: dict[str, int] = {}

    def of(self, name: str) -> _Scope | None:
        """The scope that owns a name; None for a name outside the criterion."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.outside:
                return None
            if name in scope.names and name not in scope.others:
                return scope
            scope = scope.above
        return None


_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class _Finder:
    """Raises _Change for what a function changes.

    Args:
        function: the user's function.
        owner: the value of its first argument, if it is a method.
        bound: how many leading arguments, and which names, have values from outside.
    """

    def __init__(self, function: types.FunctionType, owner: Any, bound: tuple[int, frozenset[str]]) -> None:
        self.function, self.owner, self.bound = function, owner, bound
        # The nodes with their scopes, the names with what is assigned to them, and the functions inside by name.
        self.nodes: list[tuple[ast.AST, _Scope]] = []
        self.assigned: list[tuple[_Scope, str, ast.expr, bool]] = []
        self.inside: dict[str, list[_Scope]] = {}
        self.lambdas: dict[ast.Lambda, str] = {}

    def read(self, tree: Any) -> None:
        top = _Scope(None, tree.args)
        self.top, self.me = top, ""
        leading = 0
        if self.owner is not _UNKNOWN and top.parameters:
            self.me, leading = top.parameters[0], 1
        defaults = dict(zip(
            reversed(self.function.__code__.co_varnames[: self.function.__code__.co_argcount]),
            reversed(self.function.__defaults__ or ()),
            strict=False,
        )) | (self.function.__kwdefaults__ or {})  # fmt: skip
        for k, name in enumerate(top.parameters):
            default = defaults.get(name)
            if k < leading + self.bound[0] or name in self.bound[1] or not isinstance(default, (*_PLAIN, tuple)):
                top.known[name] = _OLDER
        body = tree.body if isinstance(tree.body, list) else [tree.body]
        for node in body:
            self.collect(node, top)
        self.propagate()
        for node, scope in self.nodes:
            self.check(node, scope)

    # -- Names ------------------------------------------------------------------------------------

    def collect(self, node: ast.AST, scope: _Scope) -> None:
        self.nodes.append((node, scope))
        if isinstance(node, _Function):
            inner = _Scope(scope, node.args)
            if isinstance(node, ast.Lambda):
                if node in self.lambdas:
                    self.inside.setdefault(self.lambdas[node], []).append(inner)
            else:
                scope.names.add(node.name)
                self.inside.setdefault(node.name, []).append(inner)
                for decorator in node.decorator_list:
                    self.collect(decorator, scope)
            for default in filter(None, (*node.args.defaults, *node.args.kw_defaults)):
                self.collect(default, scope)
            body = [node.body] if isinstance(node, ast.Lambda) else node.body
            for part in body:
                self.collect(part, inner)
            return
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            (scope.outside if isinstance(node, ast.Global) else scope.others).update(node.names)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            scope.names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            scope.names.update((a.asname or a.name).partition(".")[0] for a in node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            scope.names.add(node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self.assign(scope, target, node.value)
            if isinstance(node.value, ast.Lambda) and isinstance(node.targets[0], ast.Name):
                # Called by its name, as a function.
                self.lambdas[node.value] = node.targets[0].id
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            self.assign(scope, node.target, node.value)
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            self.assign(scope, node.target, node.iter, True)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self.assign(scope, node.optional_vars, node.context_expr)
        for child in ast.iter_child_nodes(node):
            self.collect(child, scope)

    def assign(self, scope: _Scope, target: ast.expr, value: ast.expr, element: bool = False) -> None:
        if isinstance(target, ast.Name):
            self.assigned.append((scope, target.id, value, element))
        elif isinstance(target, ast.Starred):
            self.assign(scope, target.value, value, True)
        elif isinstance(target, (ast.Tuple, ast.List)):
            if isinstance(value, (ast.Tuple, ast.List)) and not element and len(value.elts) == len(target.elts):
                for one, other in zip(target.elts, value.elts, strict=True):
                    self.assign(scope, one, other)
            else:
                for one in target.elts:
                    self.assign(scope, one, value, True)

    def propagate(self) -> None:
        """Find the names of older values, until there are no more."""
        calls = [(n, s) for n, s in self.nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        changed = True
        while changed:
            changed = False
            for scope, name, value, element in self.assigned:
                changed |= self.learn(scope.of(name), name, self.grade(value, scope, element))
            for call, scope in calls:
                given = [*call.args, *[k.value for k in call.keywords]]
                found = max([self.grade(a, scope) for a in given], default=_FRESH)
                for inner in self.inside.get(call.func.id, ()):  # type: ignore[attr-defined]  # a name
                    for name in inner.parameters:
                        changed |= self.learn(inner, name, found)

    @staticmethod
    def learn(scope: _Scope | None, name: str, grade: int) -> bool:
        if scope is None or scope.known.get(name, _FRESH) >= grade:
            return False
        scope.known[name] = grade
        return True

    # -- Values -----------------------------------------------------------------------------------

    def value(self, node: ast.expr, scope: _Scope) -> Any:
        """The value of a name or an attribute from outside; _UNKNOWN if it is not certain."""
        if isinstance(node, ast.Name):
            owner = scope.of(node.id)
            if owner is not None:
                return self.owner if owner is self.top and node.id == self.me else _UNKNOWN
            code = self.function.__code__
            if node.id in code.co_freevars:
                cell = (self.function.__closure__ or ())[code.co_freevars.index(node.id)]
                try:
                    return cell.cell_contents
                except ValueError:
                    return _UNKNOWN
            return self.function.__globals__.get(node.id, getattr(builtins, node.id, _UNKNOWN))
        if not isinstance(node, ast.Attribute):
            return _UNKNOWN
        base = self.value(node.value, scope)
        if base is _UNKNOWN:
            return _UNKNOWN
        if isinstance(base, types.ModuleType):
            try:
                return getattr(base, node.attr)
            except Exception:
                # A module may run code for an attribute.
                return _UNKNOWN
        if isinstance(base, Module):
            for place in ("_parameters", "_buffers", "_modules"):
                if node.attr in base.__dict__.get(place, {}):
                    return base.__dict__[place][node.attr]
        found = inspect.getattr_static(base, node.attr, _UNKNOWN)
        return _UNKNOWN if isinstance(found, (property, types.MemberDescriptorType)) else found

    def grade(self, node: ast.expr, scope: _Scope, element: bool = False) -> int:
        """How much is known of the value of an expression, or of its elements."""
        if isinstance(node, ast.Name):
            owner = scope.of(node.id)
            if owner is not None:
                return owner.known.get(node.id, _FRESH)
            return _FRESH if isinstance(self.value(node, scope), _PLAIN) else _OLDER
        if isinstance(node, ast.Attribute):
            if isinstance(self.value(node, scope), _PLAIN):
                return _FRESH
            return self.grade(node.value, scope)
        if isinstance(node, (ast.Subscript, ast.Starred, ast.NamedExpr, ast.Await)):
            return self.grade(node.value, scope)
        if isinstance(node, ast.IfExp):
            return max(self.grade(node.body, scope, element), self.grade(node.orelse, scope, element))
        if isinstance(node, ast.BoolOp):
            return max([self.grade(v, scope, element) for v in node.values])
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)) and element:
            return max([self.grade(v, scope) for v in node.elts], default=_FRESH)
        if isinstance(node, ast.Call):
            return self.grade_of_call(node, scope)
        return _FRESH

    def grade_of_call(self, node: ast.Call, scope: _Scope) -> int:
        function = node.func
        found = self.value(function, scope)
        if _is_one(found, globals, locals) or (found is vars and not node.args):
            return _OLDER
        if _is_one(found, *_PASS_ON):
            return max([self.grade(a, scope) for a in node.args], default=_FRESH)
        if isinstance(found, (type, types.BuiltinFunctionType, Module)) or is_ours(found):
            return _FRESH
        if found is not _UNKNOWN and _package(getattr(found, "__module__", "")) in _MAKERS:
            return _FRESH
        if isinstance(function, ast.Name):
            return _FRESH if function.id in self.inside else _UNSURE
        if isinstance(function, ast.Attribute):
            base = self.grade(function.value, scope)
            if base == _OLDER and not isinstance(self.value(function.value, scope), _CONTAINERS):
                return _FRESH if isinstance(self.value(function.value, scope), Tensor) else _UNSURE
            return base
        return _UNSURE

    # -- Checks -----------------------------------------------------------------------------------

    def check(self, node: ast.AST, scope: _Scope) -> None:
        check = getattr(self, f"on_{type(node).__name__}", None)
        if check is not None and not check(node, scope):
            raise _Change(ast.unparse(node))

    def on_Name(self, node: ast.Name, scope: _Scope) -> bool:
        return isinstance(node.ctx, ast.Load) or scope.of(node.id) is not None

    def on_AugAssign(self, node: ast.AugAssign, scope: _Scope) -> bool:
        if isinstance(node.target, ast.Name):
            return self.on_Name(node.target, scope) and self.grade(node.target, scope) < _OLDER
        return self.grade(node.target.value, scope) < _OLDER

    def on_Assign(self, node: Any, scope: _Scope) -> bool:
        targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
        return all(
            self.grade(part.value, scope) < _OLDER
            for target in targets
            for part in ast.walk(target)
            if isinstance(part, (ast.Attribute, ast.Subscript)) and not isinstance(part.ctx, ast.Load)
        )

    on_AnnAssign = on_Delete = on_For = on_comprehension = on_Assign

    def on_withitem(self, node: ast.withitem, scope: _Scope) -> bool:
        target = node.optional_vars
        if target is not None and not isinstance(target, ast.Name):
            return False
        made = node.context_expr
        function = self.value(made.func if isinstance(made, ast.Call) else made, scope)
        module = _package(getattr(function, "__module__", ""))
        return is_ours(function) or is_ours(type(function)) or module in ("contextlib", "warnings")

    def on_Attribute(self, node: ast.Attribute, scope: _Scope) -> bool:
        if not isinstance(node.ctx, ast.Load) or node.attr not in _CHANGE:
            return True
        return isinstance(self.value(node.value, scope), types.ModuleType) or self.grade(node.value, scope) == _FRESH

    def on_Call(self, node: ast.Call, scope: _Scope) -> bool:
        function, first = self.value(node.func, scope), node.args[0] if node.args else None
        if _is_one(function, *_NEVER):
            return False
        if _is_one(function, setattr, delattr) and first is not None:
            return self.grade(first, scope) == _FRESH
        if function is next and first is not None:
            name = getattr(getattr(first, "func", None), "attr", "")
            return name in _ITERATORS or self.grade(first, scope) == _FRESH
        if isinstance(node.func, ast.Attribute) and node.func.attr in _OF_CONTAINERS:
            base = self.value(node.func.value, scope)
            return not isinstance(base, _CONTAINERS)
        return True

    def on_Expr(self, node: ast.Expr, scope: _Scope) -> bool:
        """Whether a statement that uses no result only computes."""
        call = node.value
        if not isinstance(call, ast.Call):
            return not isinstance(call, (ast.Await, ast.Yield, ast.YieldFrom))
        if isinstance(call.func, ast.Name) and call.func.id in self.inside:
            # Read with the criterion.
            return True
        function = self.value(call.func, scope)
        if _is_one(function, setattr, delattr, next):
            # Checked as a call.
            return True
        if function is not _UNKNOWN:
            name = getattr(function, "__name__", "")
            ours = isinstance(function, types.FunctionType) and is_ours(function) and name not in _SET
            if ours or _is_one(function, len, isinstance, float, int, str, repr, hasattr):
                return True
        if not isinstance(call.func, ast.Attribute):
            return False
        base, name = call.func.value, call.func.attr
        if self.grade(base, scope) == _FRESH:
            return name in _OF_CONTAINERS or (hasattr(Tensor, name) and not name.startswith("__"))
        return isinstance(self.value(base, scope), Tensor) and hasattr(Tensor, name)
