"""Check that a forward is straight-line: that its Python code does nothing that a replay would leave out.

A replay does not run the Python code of a forward. That is correct only if the code always leads to the
same launches and has no side effects: no printing, no counting, no branch on computed numbers. This file
reads the source of a user's ``forward`` and refuses everything that is not known to be harmless. It
accepts:

* calls of the module's own parts, of its own methods (which are read in turn), of functions of
  ``fastnn`` and ``fastnn.nn.functional``, and of tensors' methods that only compute;
* assignments to local names, arithmetic, indexing, shapes;
* constants of the class;
* branches on the module's own attributes and on shapes, loops over the module's own parts: these are
  guarded, or are part of a recording's key.
"""

from __future__ import annotations

import ast
import inspect
import types
from typing import Any

from fastnn._core.dtypes import dtype
from fastnn._tensor.tensor import Tensor
from fastnn.capture.guards import Name, Reads, is_ours
from fastnn.capture.read_source import NoSource, parsed
from fastnn.nn import functional
from fastnn.nn.container import ModuleDict, ModuleList, Sequential
from fastnn.nn.module import Module

# Top-level functions that are not tensor methods, and only compute.
_COMPUTE = frozenset({
    "cat", "concat", "concatenate", "stack", "hstack", "vstack", "where", "zeros_like", "ones_like",
    "rand", "rand_like", "randn", "randn_like",
})  # fmt: skip
# Tensor methods that do more than compute.
_MORE = frozenset({
    "apply_", "backward", "item", "map_", "map2_", "numpy", "register_hook",
    "register_post_accumulate_grad_hook", "requires_grad_", "retain_grad", "share_memory_", "tolist", "new_tensor",
    "data_ptr", "bernoulli", "multinomial",
    # The shape of the result depends on the numbers, or the result is a Python number.
    "nonzero", "argwhere", "unique", "unique_consecutive", "masked_select", "bincount", "repeat_interleave", "equal",
    "allclose", "is_nonzero", "storage_offset", "stride", "is_contiguous", "is_set_to", "is_shared", "is_inference",
})  # fmt: skip
# Tensor attributes and methods that read no numbers.
_READ = frozenset({"shape", "ndim", "dtype", "device", "T", "mT"})
_SHAPE = frozenset({"dim", "size", "numel", "ndimension", "nelement"})
_PLAIN = (bool, int, float, str, type(None), dtype)
_DEEPEST = 8
_RETURNS_LATER = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _only_computes(name: str) -> bool:
    """Whether the tensor method of this name only computes."""
    # Looked up in each call: some methods are added on first use.
    is_plain = not name.startswith("_") and not name.endswith("_") and name not in _MORE
    return is_plain and callable(getattr(Tensor, name, None))


def _is_plain(value: Any) -> bool:
    """Whether a value, or every element of a tuple, is immutable."""
    return all(map(_is_plain, value)) if type(value) is tuple else isinstance(value, _PLAIN)


class _NotReplayable(Exception):
    """Why a function is not straight-line."""


class _Lookups:
    """What calls look up.

    ``names``: the values of names outside of instances, by the id of their owner and the name. ``reads``: the
    attributes of modules, by the module's id.
    """

    def __init__(self) -> None:
        self.names: dict[tuple[int, str], Name] = {}
        self.reads: dict[int, set[str]] = {}


def find_side_effects(model: Module) -> tuple[str, list[Name], Reads]:
    """The reason why a module's forward may have side effects, or vary between calls; empty for none.

    The second result holds the values of names that each call looks up: functions, methods, constants of
    classes, the code of functions. The third holds the names of the attributes of each module, by its id. The answer is
    valid while the values of all of them are unchanged.
    """
    found = _Lookups()
    try:
        for module in model.modules():
            _look_at(module, found)
    except _NotReplayable as reason:
        return str(reason), [], {}
    return "", list(found.names.values()), found.reads


def _look_at(module: Module, found: _Lookups) -> None:
    kind = type(module)
    for name in ("__call__", "__getattr__", "__getattribute__"):
        if getattr(kind, name) is not getattr(Module, name):
            raise _NotReplayable(f"{kind.__name__} has a {name} of its own")
    if "forward" in module.__dict__:
        raise _NotReplayable(f"a {kind.__name__} was given another forward")
    if not is_ours(kind.forward):
        _Reader(module, kind.forward, (), found).read()


_NOTHING = object()
# Kinds of local names.
_VALUE, _PART = "value", "part"


class _Reader:
    """Reads one function of a module.

    Args:
        module: the value of ``self``.
        function: a function of its class.
        above: the functions that called it.
        found: where to note what the function looks up.
    """

    def __init__(self, module: Module, function: Any, above: tuple[Any, ...], found: _Lookups) -> None:
        self.module, self.function, self.above, self.found = module, function, (*above, function), found
        self.where = f"{type(module).__name__}.{getattr(function, '__name__', 'forward')}"
        self.locals: dict[str, str] = {}
        self.me = ""

    def read(self) -> None:
        """Raise _NotReplayable for anything that is not known to be harmless."""
        if not isinstance(self.function, types.FunctionType) or len(self.above) > _DEEPEST:
            raise self.bent("is no plain function")
        code = self.function.__code__
        if code.co_flags & _RETURNS_LATER:
            raise self.bent("is a generator or a coroutine")
        try:
            tree = parsed(self.function)
        except NoSource as reason:
            raise self.bent(f"has no source that can be read, {reason}") from None
        # A reload, as by IPython's autoreload, gives the same function new code.
        self.note(self.function, "__code__", code)
        if isinstance(tree, ast.FunctionDef) and tree.decorator_list:
            raise self.bent("has decorators")
        given = tree.args
        names = [a.arg for a in (*given.posonlyargs, *given.args)]
        if not names or given.vararg or given.kwarg or given.kwonlyargs:
            raise self.bent("takes arguments by * or **")
        self.me = names[0]
        self.locals = dict.fromkeys(names[1:], _VALUE)
        defaults = self.function.__defaults__
        if defaults:
            if not _is_plain(defaults):
                raise self.bent("has a default that may change inside")
            self.note(self.function, "__defaults__", defaults)
        if isinstance(tree, ast.Lambda):
            self.expression(tree.body)
        else:
            self.block(tree.body)

    def bent(self, what: str) -> _NotReplayable:
        return _NotReplayable(f"{self.where} {what}")

    # -- Statements ---------------------------------------------------------------------------

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            read = getattr(self, f"on_{type(statement).__name__}", None)
            if read is None:
                raise self.bent(f"has a statement of the kind {type(statement).__name__} (line {statement.lineno})")
            read(statement)

    def on_Pass(self, statement: ast.Pass) -> None:
        pass

    def on_Expr(self, statement: ast.Expr) -> None:
        if not isinstance(statement.value, ast.Constant):
            raise self.bent("calls something whose result it does not use")

    def on_Return(self, statement: ast.Return) -> None:
        if statement.value is not None:
            self.expression(statement.value)

    def on_Assign(self, statement: ast.Assign) -> None:
        self.expression(statement.value)
        for target in statement.targets:
            self.bind(target, _VALUE)

    def on_AnnAssign(self, statement: ast.AnnAssign) -> None:
        if statement.value is not None:
            self.expression(statement.value)
        self.bind(statement.target, _VALUE)

    def on_Assert(self, statement: ast.Assert) -> None:
        self.fixed(statement.test)

    def on_If(self, statement: ast.If) -> None:
        self.fixed(statement.test)
        self.block(statement.body)
        self.block(statement.orelse)

    def on_For(self, statement: ast.For) -> None:
        self.bind(statement.target, self.parts(statement.iter))
        self.block(statement.body)
        self.block(statement.orelse)

    def bind(self, target: ast.expr, kind: str) -> None:
        names = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        for name in names:
            if not isinstance(name, ast.Name) or name.id == self.me:
                raise self.bent("assigns to more than local names")
            self.locals[name.id] = kind

    def parts(self, node: ast.expr) -> str:
        """Check that a loop iterates over the module's own parts only; the kind of its variable."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if self.outside(node.func) in (enumerate, zip, reversed):
                for argument in node.args:
                    self.parts(argument)
                return _PART
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            self.fixed_slice(node.slice)
            return self.parts(node.value)
        elif isinstance(node, (ast.List, ast.Tuple)):
            if all(isinstance(self.own(part), Module) for part in node.elts):
                return _PART
        elif (found := self.own(node)) is not None and type(found) in (ModuleList, Sequential):
            return _PART
        raise self.bent("has a loop over something that is no list of its own parts")

    # -- Expressions --------------------------------------------------------------------------

    def expression(self, node: ast.expr) -> None:
        read = getattr(self, f"of_{type(node).__name__}", None)
        if read is None:
            raise self.bent(f"has an expression of the kind {type(node).__name__} (line {node.lineno})")
        read(node)

    def each(self, *nodes: ast.expr | None) -> None:
        for node in nodes:
            if node is not None:
                self.expression(node)

    def of_Constant(self, node: ast.Constant) -> None:
        pass

    def of_Name(self, node: ast.Name) -> None:
        if node.id not in self.locals and not isinstance(self.outside(node), dtype):
            raise self.bent(f"uses {node.id!r}, which may change")

    def of_Tuple(self, node: Any) -> None:
        self.each(*node.elts)

    of_List = of_Tuple

    def of_Dict(self, node: ast.Dict) -> None:
        self.each(*node.keys, *node.values)
        if None in node.keys:
            raise self.bent("unpacks a dictionary")

    def of_Starred(self, node: ast.Starred) -> None:
        self.expression(node.value)

    def of_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.fixed(node)
        self.expression(node.operand)

    def of_BinOp(self, node: ast.BinOp) -> None:
        self.each(node.left, node.right)

    def of_Compare(self, node: ast.Compare) -> None:
        self.each(node.left, *node.comparators)

    def of_IfExp(self, node: ast.IfExp) -> None:
        self.fixed(node.test)
        self.each(node.body, node.orelse)

    def of_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(self.own(node.value, quiet=True), (ModuleList, Sequential, ModuleDict)):
            raise self.bent("chooses one of its parts by an index")
        places = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for place in places:
            # With an array of indices or bools the shape would depend on the numbers.
            if isinstance(place, ast.Slice):
                self.each(place.lower, place.upper, place.step)
                continue
            try:
                self.fixed(place)
            except _NotReplayable:
                raise self.bent(f"has the index {ast.unparse(place)!r}") from None
        self.expression(node.value)

    def of_Attribute(self, node: ast.Attribute) -> None:
        if self.is_value(node.value):
            if node.attr not in _READ:
                raise self.bent(f"reads {node.attr!r} of a tensor")
            self.expression(node.value)
            return
        found = self.own(node, quiet=True)
        if found is None:
            found = self.outside(node)
        if not isinstance(found, (Tensor, *_PLAIN)):
            raise self.bent(f"reads {node.attr!r}, a {type(found).__name__}")

    def of_Call(self, node: ast.Call) -> None:
        self.each(*node.args, *[keyword.value for keyword in node.keywords])
        function = node.func
        if isinstance(function, ast.Name) and self.locals.get(function.id) == _PART:
            return
        if isinstance(function, ast.Attribute):
            if self.is_value(function.value):
                if not _only_computes(function.attr):
                    raise self.bent(f"calls {function.attr!r} of a tensor")
                self.expression(function.value)
                return
            part = self.own(function, quiet=True)
            if isinstance(part, types.FunctionType) and not is_ours(part) and function.attr not in self.module.__dict__:
                _Reader(self.module, part, self.above, self.found).read()
                return
            if isinstance(part, Module):
                return
            if isinstance(part, Tensor):
                raise self.bent(f"calls {function.attr!r}")
        elif not isinstance(function, ast.Name):
            raise self.bent(f"calls the result of an expression (line {node.lineno})")
        if not self.computes(self.outside(function)):
            raise self.bent(f"calls {ast.unparse(function)!r}")

    @staticmethod
    def computes(function: Any) -> bool:
        """Whether a function of fastnn only computes."""
        name = getattr(function, "__name__", "")
        if function in (len, float, int):
            return True
        if not isinstance(function, types.FunctionType) or not is_ours(function) or name.endswith("_"):
            return False
        return _only_computes(name) or name in _COMPUTE or getattr(functional, name, None) is function

    def is_value(self, node: ast.expr) -> bool:
        """Whether an expression is a computed value, not a part of the module or a global name."""
        if isinstance(node, ast.Name):
            return self.locals.get(node.id) == _VALUE
        if isinstance(node, ast.Attribute):
            root: ast.expr = node
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id == self.me:
                return isinstance(self.own(node, quiet=True), Tensor)
            return self.is_value(root)
        return isinstance(node, (ast.Call, ast.BinOp, ast.Subscript, ast.UnaryOp))

    def fixed(self, node: ast.expr) -> None:
        """Check a test or an index: only constants, the module's attributes and shapes."""
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.fixed(value)
        elif isinstance(node, ast.UnaryOp):
            self.fixed(node.operand)
        elif isinstance(node, ast.BinOp):
            self.fixed(node.left)
            self.fixed(node.right)
        elif isinstance(node, ast.Compare):
            for value in (node.left, *node.comparators):
                # Whether a local is None depends only on which arguments are given.
                others = (node.left, *node.comparators)
                is_none = any(isinstance(other, ast.Constant) and other.value is None for other in others)
                is_none = is_none and all(isinstance(operation, (ast.Is, ast.IsNot)) for operation in node.ops)
                if not (is_none and isinstance(value, ast.Name) and value.id in self.locals):
                    self.fixed(value)
        elif isinstance(node, (ast.Tuple, ast.List)):
            for value in node.elts:
                self.fixed(value)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, (ast.Constant, ast.UnaryOp)):
            self.fixed(node.value)
        elif isinstance(node, ast.Attribute) and self.is_value(node.value) and node.attr in _READ - {"T", "mT"}:
            self.expression(node.value)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _SHAPE
            and self.is_value(node.func.value)
        ):
            self.expression(node)
        elif not isinstance(node, ast.Constant) and not self.is_own_plain(node):
            raise self.bent(f"has a branch on {ast.unparse(node)!r}")

    def fixed_slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper, node.step):
            if bound is not None:
                self.fixed(bound)

    def is_own_plain(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Attribute):
            return False
        found = self.own(node, quiet=True, missing=self)
        return isinstance(found, (Module, Tensor, *_PLAIN))

    # -- Names --------------------------------------------------------------------------------

    def own(self, node: ast.expr, *, quiet: bool = False, missing: Any = None) -> Any:
        """The value of an expression ``self.a.b``; ``missing`` for another kind of expression."""
        if isinstance(node, ast.Name):
            if node.id == self.me:
                return self.module
        elif isinstance(node, ast.Attribute):
            owner = self.own(node.value, quiet=quiet, missing=missing)
            if isinstance(owner, Module):
                return self.member(owner, node.attr, missing)
        if quiet:
            return missing
        raise self.bent("has a loop over something that is no list of its own parts")

    def member(self, owner: Module, name: str, missing: Any) -> Any:
        """An attribute, looked up as Python would."""
        self.found.reads.setdefault(id(owner), set()).add(name)
        kind = type(owner)
        found = inspect.getattr_static(kind, name, _NOTHING)
        if found is _NOTHING or (name in owner.__dict__ and isinstance(found, _PLAIN)):
            for held in (owner.__dict__, owner._parameters, owner._modules, owner._buffers):
                if name in held:
                    return held[name]
            return missing
        if isinstance(found, types.FunctionType):
            if name in owner.__dict__:
                return owner.__dict__[name]
            if owner is not self.module:
                return missing
        elif not isinstance(found, _PLAIN):
            # A property, or a module stored on the class, which is not guarded.
            raise self.bent(f"reads {name!r}, which belongs to the class {kind.__name__}")
        self.note(kind, name, found)
        return found

    def note(self, owner: Any, name: str, value: Any) -> Any:
        """Remember the value of a name; return it."""
        self.found.names[id(owner), name] = owner, name, value
        return value

    def outside(self, node: ast.expr) -> Any:
        """The value of a global name, or of an attribute of a module of fastnn."""
        if isinstance(node, ast.Name):
            if node.id not in self.locals and node.id != self.me:
                code = self.function.__code__
                if node.id in code.co_freevars:
                    cell = self.function.__closure__[code.co_freevars.index(node.id)]
                    try:
                        return self.note(cell, "cell_contents", cell.cell_contents)
                    except ValueError:
                        raise self.bent(f"uses {node.id!r}, which has no value") from None
                # Not the dictionary of a module, which may not exist: after exec, or in another process.
                scope, builtins = self.function.__globals__, self.function.__builtins__
                if type(scope) is not dict:
                    raise self.bent("has globals that are no plain dictionary")
                if self.note(scope, node.id, scope.get(node.id)) is None:
                    return self.note(builtins, node.id, builtins.get(node.id))
                return scope[node.id]
        elif isinstance(node, ast.Attribute):
            owner = self.outside(node.value)
            if isinstance(owner, types.ModuleType) and owner.__name__.partition(".")[0] in ("fastnn", "torch"):
                scope = vars(owner) if type(owner) is types.ModuleType and node.attr in vars(owner) else owner
                return self.note(scope, node.attr, getattr(owner, node.attr, None))
        raise self.bent(f"uses {ast.unparse(node)!r}")
