"""Operations of tensors, by family; each is a function of ``fastnn`` and a method of ``Tensor``.

A family lists its exports in ``__all__``; functions that take ``input`` first also become methods, except
those in ``FUNCTIONS_ONLY``. ``IN_PLACE`` names the operations with an in-place form ``name_``,
``OPERATORS`` the methods of Python's operators, ``METHODS`` those whose arguments differ from the
function's, ``PROPERTIES`` the attributes. Importing this module attaches them all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastnn._autograd.modes import _mode
from fastnn._core.dtypes import on_bfloat16
from fastnn._tensor import legacy_constructors as legacy
from fastnn._tensor.tensor import Tensor, _recorded
from fastnn.ops import (
    arithmetic,
    comparison,
    conversion,
    counting,
    einsum,
    elementwise,
    factorizations,
    indexing,
    joining,
    norms,
    powers,
    products,
    reductions,
    scatter,
    selection,
    shapes,
    sorting,
    vectors,
)
from fastnn.ops import binary_math as pairs
from fastnn.ops import creation as functions
from fastnn.ops import extrema as ordering
from fastnn.ops import permute as orders
from fastnn.ops import slicing as parts
from fastnn.ops.core import DIRECT, method_of, original, overwrite_directly, titled

FAMILIES = (
    arithmetic, comparison, conversion, counting, einsum, elementwise, factorizations, indexing, joining, norms,
    ordering, orders, pairs, parts, powers, products, reductions, scatter, selection, shapes, sorting, vectors,
)  # fmt: skip
# A method's first argument has one of these names.
_FIRST = ("input", "tensor", "sorted_sequence", "elements")


def _first_argument(function: Callable[..., Any]) -> str:
    code = getattr(function, "__wrapped__", function).__code__
    return code.co_varnames[0] if code.co_argcount else ""


def _in_place_form(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method that writes the result of ``function`` into the tensor itself."""

    direct = DIRECT.get(name)

    @functools.wraps(function)
    def changed(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # Bools and integers are refused or converted by the function.
        if (
            direct is not None and not args and not kwargs and self._data.dtype.kind == "f" and not _recorded(self)
            and overwrite_directly(self, direct)
        ):  # fmt: skip
            return self
        return self._in_place(function(original(self, *args), *args, **kwargs))

    return titled(changed, f"{name}_", f"``{name}`` in place.")


def _reshaping_form(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method that turns the tensor itself into the view that ``function`` returns."""

    @functools.wraps(function)
    def changed(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._check_in_place()
        result = function(self, *args, **kwargs)
        self._data = result._data
        if _mode.enabled or self._node is not None:
            # A leaf remains a leaf if nothing is recorded.
            self._node, self._requires_grad = result._node, result._requires_grad
        if self._view is not None:
            # A view becomes another view of the same base.
            self._view = result._view
        self._memory.version = self._memory.version_to_write() + 1
        return self

    return titled(changed, f"{name}_", f"``{name}`` in place.")


def _use_bfloat16() -> None:
    # Imported then: few programs need it.
    from fastnn.ops.low_precision import activate

    activate()


on_bfloat16.append(_use_bfloat16)


def _attach() -> None:
    for family in FAMILIES:
        only_functions = getattr(family, "FUNCTIONS_ONLY", ())
        for name in family.__all__:
            function = getattr(family, name)
            if name not in only_functions and _first_argument(function) in _FIRST:
                method = method_of(function)
                if method is not function:
                    # So that it is pickled by name.
                    method.__module__, method.__qualname__ = Tensor.__module__, f"Tensor.{name}"
                setattr(Tensor, name, method)
        for name in getattr(family, "IN_PLACE", ()):
            setattr(Tensor, f"{name}_", _in_place_form(getattr(family, name), name))
        for table in ("METHODS", "OPERATORS"):
            for name, function in getattr(family, table, {}).items():
                setattr(Tensor, name, method_of(function) if table == "OPERATORS" else function)
        for name, function in getattr(family, "PROPERTIES", {}).items():
            setattr(Tensor, name, property(function))
    for name, function in {**functions.METHODS, **legacy.METHODS}.items():
        setattr(Tensor, name, function)
    for family in (shapes, orders):
        for name in family.RESHAPES:
            setattr(Tensor, f"{name}_", _reshaping_form(getattr(family, name), name))


_attach()
