"""``__torch_function__``: operations of subclasses of ``Tensor`` call it, and keep the subclass.

Nothing looks for subclasses until the first instance of one is made, or an operation fails for an object of another
class that has a ``__torch_function__``. Then each operation gets other code, which does: functions that programs have
imported already, or have in tables, stay the same objects. Until then a program pays nothing, afterwards under a
microsecond for each operation. ``vmap`` and modes need it only while they run: some time later the operations get
their own code back.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastnn._autograd.saved_hooks import saving_on
from fastnn._autograd.saved_hooks import state as saving
from fastnn._tensor.precision_lists import NATIVE
from fastnn._tensor.tensor import Tensor

# Operators that call the method of another name, as in PyTorch: `x + 1` gets `Tensor.add`.
_NAMED_AS = {
    "__add__": "add", "__radd__": "add", "__iadd__": "add_", "__sub__": "sub", "__isub__": "sub_", "__mul__": "mul",
    "__rmul__": "mul", "__imul__": "mul_", "__truediv__": "div", "__itruediv__": "div_", "__matmul__": "matmul",
    "__pow__": "pow", "__neg__": "neg", "__abs__": "abs", "__lt__": "lt", "__le__": "le", "__gt__": "gt",
    "__ge__": "ge",
}  # fmt: skip
_OPERATORS = {
    *_NAMED_AS, "__rsub__", "__rtruediv__", "__rpow__", "__ipow__", "__rmatmul__", "__floordiv__", "__rfloordiv__",
    "__ifloordiv__", "__mod__", "__rmod__", "__imod__", "__eq__", "__ne__", "__and__", "__rand__", "__or__", "__ror__",
    "__xor__", "__rxor__", "__iand__", "__ior__", "__ixor__", "__lshift__", "__rshift__", "__div__",
}  # fmt: skip
_OTHERS = {
    "__getitem__", "__setitem__", "__len__", "__float__", "__int__", "__bool__", "__index__", "__complex__",
    "__contains__", "__invert__", "__pos__", "__repr__", "__format__", "__reversed__", "__array__",
}  # fmt: skip
# Functions and methods that do not ask subclasses.
_NEVER = {
    "as_subclass", "as_tensor", "asarray", "from_numpy", "frombuffer", "is_storage", "is_tensor", "tensor", "typename",
}
# Modules whose functions are not PyTorch's.
_INNER = {
    "fastnn.ops.core", "fastnn.nn.activation_core", "fastnn.nn.checks", "fastnn.nn.loss_core",
    "fastnn.nn.functional.gradient_buffers",
}  # fmt: skip
# The results of these attributes keep their own type.
_PLAIN_RESULTS = {"grad", "_base", "_grad"}
_SHORTCUTS = (int, float, bool, str, type(None), Tensor, np.ndarray)

# Functions that ask no subclasses, but modes.
_MODES_ONLY = {"as_tensor", "asarray", "from_numpy", "frombuffer", "tensor"}

_state = threading.local()
# The modes that threads are in, of all threads.
_entered: list[Any] = []
# Whether instances of a type have a `__torch_function__` of their own, by type.
_asks: dict[type, bool] = dict.fromkeys(_SHORTCUTS, False)
_lock = threading.Lock()
_active: list[bool] = []
# Whether a program has subclasses of its own, so that operations look for them until its end.
_for_good: list[bool] = []
# The changed attributes: the owner, the name, its own value and the other.
_changed: list[tuple[Any, str, Any, Any]] = []
_suspended: list[bool] = []
# How many calls need the changes now, and how many collections of garbage there were since the last one.
_holders, _rounds = [0], [0]
_PATIENCE = 10


class _Batches(threading.local):
    """The calls of ``vmap`` that run in this thread, the outermost first; see :mod:`fastnn._functorch.batched`."""

    def __init__(self) -> None:
        self.levels: list[Any] = []


running = _Batches()
# From the first use of bfloat16 or autocast on: what calls an operation; see `low_precision`.
converters: list[Callable[..., Any]] = []
# What else changes with the first instance: modules, which this file does not know.
on_activation: list[Callable[[], None]] = []


@contextmanager
def disabled() -> Iterator[None]:
    """A block in which operations do not call ``__torch_function__``."""
    before = getattr(_state, "off", False)
    _state.off = True
    try:
        yield
    finally:
        _state.off = before


def is_off() -> bool:
    """Whether this thread is in ``disabled``."""
    return getattr(_state, "off", False)


def asks(kind: type) -> bool:
    """Whether instances of a type are asked: subclasses of ``Tensor``, but not ``Parameter`` and ``Buffer``."""
    found = _asks.get(kind)
    if found is None:
        if kind is list or kind is tuple:
            # Not noted: the elements of such an argument are asked.
            return False
        method = getattr(kind, "__torch_function__", None)
        takes_part = method is not None and method is not disabled_torch_function
        found = _asks[kind] = takes_part and (kind._of_user if issubclass(kind, Tensor) else True)
    return found


def disabled_torch_function(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """The ``__torch_function__`` of classes that take no part: results are plain tensors."""
    before = getattr(_state, "off", False)
    _state.off = True
    try:
        return func(*args, **(kwargs or {}))
    finally:
        _state.off = before


def default_torch_function(cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """``Tensor.__torch_function__``: calls the function; tensors among its results become instances of ``cls``."""
    if not all(issubclass(cls, kind) for kind in types):
        return NotImplemented
    result = disabled_torch_function(func, types, args, kwargs)
    owner = getattr(func, "__self__", None)
    if isinstance(owner, property) and getattr(owner.fget, "__name__", "") in _PLAIN_RESULTS:
        return result
    return as_kind(result, cls)


def as_kind(result: Any, cls: type) -> Any:
    if cls is Tensor:
        return result
    if isinstance(result, Tensor):
        return result if isinstance(result, cls) else _instance(result, cls)
    if isinstance(result, (tuple, list)) and type(result).__name__ != "Size":
        parts = [as_kind(r, cls) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def _instance(source: Tensor, cls: Any) -> Any:
    """A tensor of the class with the memory and the history of another."""
    if source._requires_grad and source._node is None:
        from fastnn._tensor.legacy_constructors import alias

        # A leaf: the gradient of the new tensor is also its gradient.
        source = alias(source)
    made = object.__new__(cls)
    fill(made, source)
    return made


def fill(made: Any, source: Any) -> None:
    """Make a new object of a subclass a tensor over the memory and the history of ``source``."""
    for name in ("_data", "_node", "_requires_grad", "_memory", "_history", "_view"):
        setattr(made, name, getattr(source, name))
    made._grad = None


def as_subclass(source: Tensor, cls: Any) -> Any:
    """See ``Tensor.as_subclass``."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"cls must be a subclass of Tensor, found {cls!r}")
    activate(cls)
    with disabled():
        return _instance(source, cls)


# -- Modes --------------------------------------------------------------------------------------


def enter_mode(mode: Any) -> None:
    """From now on this thread's operations call ``mode.__torch_function__``, until ``exit_mode``."""
    activate_for_a_while()
    if not hasattr(_state, "modes"):
        _state.modes = []
    _state.modes.append(mode)
    _entered.append(mode)


def exit_mode() -> None:
    """Leave the mode that this thread entered last."""
    _entered.remove(_state.modes.pop())
    release()


def in_mode() -> bool:
    """Whether this thread is in a mode, and not in its ``__torch_function__``."""
    return bool(_entered) and bool(getattr(_state, "modes", None))


def _call_mode(func: Any, args: Any, kwargs: Any) -> Any:
    modes, kinds = _state.modes, tuple([type(a) for a in _asked(args, kwargs)])
    # Operations inside go to the modes around this one.
    mode = modes.pop()
    try:
        result = mode.__torch_function__(func, kinds, args, kwargs)
    finally:
        modes.append(mode)
    if result is NotImplemented:
        raise TypeError(f"the mode {mode!r} does not implement {getattr(func, '__name__', func)!r}")
    return result


def _mode_entry(original: Callable[..., Any], func: Any) -> Callable[[Any, Any], Any]:
    def run(args: Any, kwargs: Any) -> Any:
        return _call_mode(func, args, kwargs) if _entered and in_mode() else original(*args, **kwargs)

    return run


# -- Calls --------------------------------------------------------------------------------------


def _asked(args: Any, kwargs: Any) -> list[Any]:
    """The arguments to ask, one of each type, in PyTorch's order: subclasses before their bases."""
    found: list[Any] = []
    for value in (*args, *kwargs.values()):
        for a in value if type(value) in (list, tuple) else (value,):
            kind = type(a)
            if asks(kind) and all(type(other) is not kind for other in found):
                place = next((i for i, other in enumerate(found) if issubclass(kind, type(other))), len(found))
                found.insert(place, a)
    return found


def _call(func: Any, args: Any, kwargs: Any, asked: list[Any]) -> Any:
    kinds = tuple([type(a) for a in asked])
    for a in asked:
        result = a.__torch_function__(func, kinds, args, kwargs)
        if result is not NotImplemented:
            return result
    raise TypeError(
        f"no implementation found for {getattr(func, '__name__', func)!r} on types that implement __torch_function__: "
        f"{list(kinds)}"
    )


def converting(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, with its tensors in other dtypes where bfloat16 or autocast ask for that."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return converters[0](original, name, args, kwargs) if converters else original(*args, **kwargs)

    return run


def _entry(original: Callable[..., Any], func: Any, name: str = "") -> Callable[[Any, Any], Any]:
    """The new work of a function: subclasses are given ``func``; ``name``, if it computes, is PyTorch's."""
    state, known, entered = _state, _asks, _entered
    plain, is_native = original, not name
    if name:
        original = converting(plain, name)

    def run(args: Any, kwargs: Any) -> Any:
        if entered and in_mode():
            return _call_mode(func, args, kwargs)
        for a in args:
            if known.get(type(a), True):
                break
        else:
            if not kwargs and not saving_on:
                return plain(*args) if is_native or not converters else converters[0](plain, name, args, kwargs)
        if not getattr(state, "off", False):
            asked = _asked(args, kwargs)
            if asked:
                return _call(func, args, kwargs, asked)
        if saving_on and saving.pairs:
            return saving_on[0](original, args, kwargs)
        return original(*args, **kwargs)

    return run


def _operator_entry(original: Callable[..., Any], func: Any, own: Any, name: str) -> Callable[[Any, Any], Any]:
    state, known, entered = _state, _asks, _entered
    plain = original
    original = converting(plain, name)

    def run(args: Any, kwargs: Any) -> Any:
        if entered and in_mode():
            return _call_mode(func, args, kwargs)
        for a in args:
            if known.get(type(a), True):
                break
        else:
            if saving_on and saving.pairs:
                return saving_on[0](original, args, {})
            return converters[0](plain, name, args, {}) if converters else plain(*args)
        if not getattr(state, "off", False):
            asked = _asked(args, kwargs)
            if asked:
                simple = all(isinstance(a, (Tensor, int, float, complex)) or asks(type(a)) for a in args)
                if not simple and not all(isinstance(a, (Tensor, np.ndarray, np.generic)) for a in args):
                    # No operand of an operation.
                    return disabled_torch_function(original, (), args)
                try:
                    return _call(func if simple else own, args, {}, asked)
                except TypeError as error:
                    # Python then tries the other operand, and says which types it were.
                    if str(error).startswith("no implementation found"):
                        return NotImplemented
                    raise
        return original(*args)

    return run


_MARK = "the place of the function"


@functools.cache
def _template(count: int) -> types.CodeType:
    """Code that calls a function in its constants, for a function with ``count`` variables of a closure."""
    names = ", ".join([f"v{i}" for i in range(count)])
    use = f"  if 0: return ({names},)\n" if count else ""
    text = f"def outer({names}):\n def entry(*args, **kwargs):\n{use}  run = {_MARK!r}\n  return run(args, kwargs)\n"
    [outer] = [c for c in compile(text, __file__, "exec").co_consts if isinstance(c, types.CodeType)]
    [entry] = [c for c in outer.co_consts if isinstance(c, types.CodeType)]
    assert len(entry.co_freevars) == count
    return entry


def change(function: types.FunctionType, make: Callable[[Callable[..., Any]], Any], *, is_kept: bool = True) -> None:
    """Give a function other code: ``make(original)`` returns a function of its arguments and options.

    Call it while operations look for subclasses.

    Args:
        is_kept: take the code away, and give it again, together with that of all operations.
    """
    code = function.__code__
    original = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    original.__dict__.update(function.__dict__)
    run = make(original)
    entry = _template(len(code.co_freevars))
    constants = tuple([run if c == _MARK else c for c in entry.co_consts])
    # `inspect.signature` reads the former one.
    function.__wrapped__ = original  # type: ignore[attr-defined]  # of functools.wraps
    function.__code__ = entry.replace(co_consts=constants, co_name=code.co_name, co_qualname=code.co_qualname)
    if is_kept:
        _changed.append((function, "__code__", code, function.__code__))


def activate(cls: type) -> None:
    """Make operations look for subclasses, from the first instance of ``cls`` on, if that takes part."""
    if not _for_good and asks(cls):
        _activate_for_good()


def found(args: Any, kwargs: Any) -> bool:
    """Whether arguments that an operation could not take are objects with a ``__torch_function__``.

    These are no tensors, so nothing was known of them. From now on operations look for them.
    """
    if _for_good or not any(not isinstance(a, Tensor) for a in _asked(args, kwargs)):
        return False
    _activate_for_good()
    return True


def convert_with(call: Callable[..., Any]) -> bool:
    """From now on operations are called by ``call``, which converts their tensors. False if they are already."""
    if converters:
        return False
    converters.append(call)
    _activate_for_good()
    return True


def _activate_for_good() -> None:
    _activate()
    _for_good.append(True)
    if _suspended:
        with _lock:
            _set_all(True)


# -- For a while ----------------------------------------------------------------------------------


def activate_for_a_while() -> None:
    """Make operations look for subclasses until :func:`release`, which is called as often, and a while longer."""
    _activate()
    with _lock:
        _holders[0] += 1
        if _suspended:
            _set_all(True)


def release() -> None:
    """The end of what :func:`activate_for_a_while` began.

    To change all operations takes 50 microseconds, so they stay as they are for some collections of garbage.
    """
    with _lock:
        _holders[0] -= 1
        _rounds[0] = 0
        if not _for_good and not _holders[0] and _suspend_when_idle not in gc.callbacks:
            gc.callbacks.append(_suspend_when_idle)


def _suspend_when_idle(phase: str, info: Any) -> None:
    """Called by the garbage collector: give operations their own code if nothing has needed the other for a while."""
    if phase != "start" or not _lock.acquire(blocking=False):
        return
    try:
        _rounds[0] += 1
        if _for_good or _holders[0] or _rounds[0] > _PATIENCE:
            gc.callbacks.remove(_suspend_when_idle)
            if not _for_good and not _holders[0]:
                _set_all(False)
    finally:
        _lock.release()


def _set_all(changed: bool) -> None:
    """Give all operations their other code, or their own."""
    for owner, name, own, other in _changed if changed else reversed(_changed):
        setattr(owner, name, other if changed else own)
    _suspended[:] = [] if changed else [True]


def _activate() -> None:
    with _lock:
        if not _active:
            _active.append(True)
            _change_operations()
            for changes in on_activation:
                changes()


def _change_operations() -> None:
    seen: set[int] = set()

    def computes(name: str) -> str:
        return "" if name in NATIVE else name

    def change_once(function: Any, make: Callable[[Callable[..., Any]], Any]) -> None:
        if type(function) is types.FunctionType and id(function) not in seen:
            seen.add(id(function))
            change(function, make)

    for base in (Tensor, *Tensor.__mro__[1:-1]):
        for name, value in list(vars(base).items()):
            if name in _NEVER:
                continue
            if isinstance(value, property):
                _change_property(base, name, value)
            elif type(value) is types.FunctionType:
                _rename(value, name)
                if name == "__iter__":
                    change_once(value, _iteration)
                elif name in _OPERATORS:
                    func = getattr(Tensor, _NAMED_AS.get(name, name))
                    named = _NAMED_AS.get(name, name)
                    change_once(value, functools.partial(_operator_entry, func=func, own=value, name=named))
                elif name in _OTHERS or not name.startswith("_"):
                    change_once(value, functools.partial(_entry, func=value, name=computes(name)))
    for module in ("fastnn.nn.functional", "fastnn.linalg", "fastnn.special", "fastnn"):
        for name, value in list(vars(sys.modules[module]).items() if module in sys.modules else ()):
            home = getattr(value, "__module__", None) or ""
            ours = home.startswith(("fastnn.ops.", "fastnn.nn.", "fastnn.linalg", "fastnn.special"))
            if ours and home not in _INNER and name not in _NEVER and not name.startswith("_"):
                change_once(value, functools.partial(_entry, func=value, name=computes(name)))
            elif ours and name in _MODES_ONLY:
                change_once(value, functools.partial(_mode_entry, func=value))


def _rename(method: types.FunctionType, name: str) -> None:
    """Give a method the name under which PyTorch has it, which programs print and compare."""
    name = {"__rtruediv__": "__rdiv__"}.get(name, _NAMED_AS.get(name, name))
    if method.__name__ != name and (
        method.__name__.startswith("_") or method.__name__ not in vars(Tensor)
    ):
        method.__name__, method.__qualname__ = name, f"Tensor.{name}"


def _iteration(original: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def run(args: Any, kwargs: Any) -> Any:
        if asks(type(args[0])) and not getattr(_state, "off", False):
            return iter(args[0].unbind(0))
        return original(*args)

    return run


def _change_property(base: type, name: str, value: property) -> None:
    if value.fget is None or (name.startswith("_") and name != "_base"):
        return
    run, code = _entry(value.fget, value.__get__), _template(0)
    constants = tuple([run if c == _MARK else c for c in code.co_consts])
    getter = types.FunctionType(code.replace(co_consts=constants, co_name=name), globals(), name)
    other = property(getter, value.fset, value.fdel, value.__doc__)
    setattr(base, name, other)
    _changed.append((base, name, value, other))
