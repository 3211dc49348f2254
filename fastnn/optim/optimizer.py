"""Optimizer: parameter groups, state by parameter, hooks, and state dictionaries.

This is the common part of all optimizers, including user-defined ones; ``step`` of a subclass updates
the numbers.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeAlias

from fastnn._autograd.hooks import HookList, RemovableHandle
from fastnn._core.dtypes import FLOATING
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.optim.clip import Clip

# Hooks of all optimizers, in the order of registration.
_before_all, _after_all = HookList(), HookList()


_HOOKS = (
    "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks", "_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks",
)  # fmt: skip


ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
StateDict: TypeAlias = dict[str, Any]


class _Required:
    """The default of an option that every group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


_RequiredParameter = _Required
required = _Required()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before each step of any optimizer; see ``Optimizer``'s own."""
    return _before_all.add(hook)


def register_optimizer_step_post_hook(hook: Callable[..., None]) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after each step of any optimizer."""
    return _after_all.add(hook)


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """The ``step`` of a class, with hooks called before and after it."""

    @functools.wraps(step)
    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if type(self).step is not hooked:
            # Called by the `step` of a subclass, which calls the hooks.
            return step(self, *args, **kwargs)
        self._opt_called = True
        before, after = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        if not (before or after or _before_all or _after_all):
            return step(self, *args, **kwargs)
        # As in PyTorch, the arguments start with the optimizer.
        given: tuple[Any, ...] = (self, *args)
        for hook in [*_before_all.values(), *before.values()]:
            changed = hook(self, given, kwargs)
            if changed is None:
                continue
            if not isinstance(changed, tuple) or len(changed) != 2:
                raise RuntimeError(
                    f"a hook before step must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                )
            given, kwargs = changed
        result = step(*given, **kwargs)
        for hook in [*after.values(), *_after_all.values()]:
            hook(self, given, kwargs)
        return result

    return hooked


class Optimizer:
    """Base of the optimizers, including user-defined ones.

    A subclass writes ``__init__``, which calls this one, and ``step``. It finds its parameters in
    ``param_groups`` and keeps the state of each in ``state[parameter]``, a dictionary.

    Args:
        params: tensors, pairs of name and tensor, or dictionaries with a key 'params' and options of their own.
        defaults: options of groups that give none.

    Raises: TypeError and ValueError for other arguments.

    >>> import fastnn
    >>> class Signs(fastnn.optim.Optimizer):
    ...     def step(self):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 seen = self.state[p]
    ...                 seen["steps"] = seen.get("steps", 0) + 1
    ...                 p.data -= group["lr"] * (p.grad > 0)
    >>> w = fastnn.nn.Parameter(fastnn.ones(2))
    >>> optimizer = Signs([w], {"lr": 0.5})
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist(), optimizer.state[w]
    ([0.5, 0.5], {'steps': 1})
    """

    # Whether a step was taken since the first schedule of the learning rate was made (see `lr_scheduler`).
    _opt_called = False
    # The limit of the gradients' norm in this step, if :meth:`_takes_clip`.
    _clip: Clip | None = None

    _optimizer_step_pre_hooks: HookList
    _optimizer_step_post_hooks: HookList
    _optimizer_state_dict_pre_hooks: HookList
    _optimizer_state_dict_post_hooks: HookList
    _optimizer_load_state_dict_pre_hooks: HookList
    _optimizer_load_state_dict_post_hooks: HookList
    state: dict[Any, Any]
    param_groups: list[dict[str, Any]]
    defaults: dict[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[method-assign]  # once, as it is made

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, dict)):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}"
            )
        self.defaults = defaults
        self._make_hooks()
        self.state = self._make_state()
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list, expected at least one parameter")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _make_state(self) -> dict[Any, Any]:
        return defaultdict(dict)

    # -- Groups ---------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own options.

        Raises: TypeError and ValueError, before anything is changed.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        # The dictionary itself, as in PyTorch: the caller may keep it to change options.
        group = param_group
        params, names = _params_of(group)
        for p in params:
            self._check_param(p)
        for name, value in self.defaults.items():
            if value is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
        for other in self.param_groups:
            if ("param_names" in other) != bool(names):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if names else 'without'} names to the optimizer"
                )
        known = {id(p) for other in self.param_groups for p in other["params"]}
        if any(id(p) in known for p in params):
            shapes = [tuple(p.shape) for p in params if id(p) in known]
            raise ValueError(f"some parameters appear in more than one parameter group, found those of shapes {shapes}")
        if len({id(p) for p in params}) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; each takes a step for every time that "
                "it is listed",
                stacklevel=3,
            )
        group["params"] = params
        if names:
            group["param_names"] = names
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        self.param_groups.append(group)

    def _check_param(self, p: Any) -> None:
        if not isinstance(p, Tensor):
            raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
        if not (p.is_leaf or getattr(p, "retains_grad", False)):
            raise ValueError(f"can't optimize a non-leaf Tensor, found one of shape {tuple(p.shape)}")
        if any(step == 0 and n > 1 for n, step in zip(p._data.shape, p._data.strides, strict=True)):
            raise RuntimeError(
                f"unsupported operation: elements of the parameter of shape {tuple(p.shape)} share one place in "
                "memory, as after expand(). Please clone() the tensor before it is optimized."
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of all parameters to None (which is free), or to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p._grad = None
                elif p._grad is not None:
                    if p._grad._requires_grad:
                        p._grad = p._grad.detach()
                    p._grad.zero_()

    def _takes_clip(self) -> bool:
        """Whether ``step()`` multiplies the gradients by the factor of ``_clip``."""
        return False

    def _has_step_hooks(self) -> bool:
        return bool(
            self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks or _before_all or _after_all
        )

    def _take_back(self) -> bool:
        """Undo the step count of parameters whose update was started and has not run; whether there were any."""
        return False

    def _is_capturable(self) -> bool:
        """Whether ``step()`` updates only by launches, so that it can be recorded."""
        return False

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters.

        Args:
            closure: recomputes the loss and returns it.
        """
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        # What `__init__` makes. Wrappers like Lookahead do not call it, and may change while they are in use.
        if name in _HOOKS:
            made: Any = HookList()
        elif name == "state":
            made = self._make_state()
        elif name == "defaults":
            made = {}
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        self.__dict__[name] = made
        return made

    # The decorator of `step`, which each subclass gets when it is defined.
    profile_hook_step = staticmethod(_hooked)

    def _patch_step_function(self) -> None:
        """Does nothing: hooks are called by each ``step`` from its definition on."""

    def _optimizer_step_code(self) -> None:
        """Does nothing: a place for profilers."""

    # -- Hooks ----------------------------------------------------------------------------------

    def _make_hooks(self) -> None:
        for name in _HOOKS:
            self.__dict__[name] = HookList()

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return new ``(args, kwargs)``.

        ``args`` starts with the optimizer itself.
        """
        return self._optimizer_step_pre_hooks.add(hook)

    def register_step_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return self._optimizer_step_post_hooks.add(hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., None], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before ``state_dict()``; before the other hooks if ``prepend``."""
        return _add(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after ``state_dict()``; the hook may return another."""
        return _add(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before ``load_state_dict()``; the hook may return another."""
        return _add(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., None], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` after ``load_state_dict()``."""
        return _add(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # -- State ----------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """For ``pickle`` and ``copy``: without the hooks, and without an instance attribute ``step``."""
        left_out = ("step", "_opt_called", "_scheduled_step")
        return {n: v for n, v in self.__dict__.items() if n not in left_out and not isinstance(v, HookList)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            self._make_hooks()

    def state_dict(self) -> dict[str, Any]:
        """Options and state, in PyTorch's layout: parameters are numbered in the order of the groups."""
        for hook in list(self._optimizer_state_dict_pre_hooks.values()):
            hook(self)
        number_of: dict[int, int] = {}
        groups, start = [], 0
        for group in self.param_groups:
            for i, p in enumerate(group["params"], start):
                number_of[id(p)] = i
            start += len(group["params"])
            packed = {name: value for name, value in group.items() if name != "params"}
            groups.append({**packed, "params": [number_of[id(p)] for p in group["params"]]})
        state = {
            number_of[id(key)] if isinstance(key, Tensor) else key: dict(entry) if isinstance(entry, dict) else entry
            for key, entry in self.state.items()
        }
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in list(self._optimizer_state_dict_post_hooks.values()):
            replaced = hook(self, result)
            result = result if replaced is None else replaced
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load options and copies of the state from ``state_dict()`` of an optimizer with the same groups.

        Raises: ValueError if the groups differ, before anything is changed.
        """
        state_dict = dict(state_dict)
        for hook in list(self._optimizer_load_state_dict_pre_hooks.values()):
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"loaded state dict has {len(saved)} parameter groups, this optimizer has {len(self.param_groups)}"
            )
        param_of: dict[Any, Tensor] = {}
        for theirs, ours in zip(saved, self.param_groups, strict=True):
            if len(theirs["params"]) != len(ours["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"{len(theirs['params'])} parameters, expected {len(ours['params'])}"
                )
            param_of.update(zip(theirs["params"], ours["params"], strict=True))
            theirs["params"] = ours["params"]
            if "param_names" in ours:
                theirs.setdefault("param_names", ours["param_names"])
        entries = state_dict["state"]
        for number, entry in entries.items():
            if number in param_of:
                self._check_saved(number, param_of[number], entry)
        state = self._make_state()
        for number, entry in entries.items():
            if number in param_of:
                state[param_of[number]] = _copied(entry, param_of[number])
            else:
                state[number] = entry
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in list(self._optimizer_load_state_dict_post_hooks.values()):
            hook(self)

    def _check_saved(self, number: Hashable, p: Tensor, entry: Any) -> None:
        """Raise ValueError if the saved state of a parameter is invalid."""

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _add(hooks: HookList, hook: Callable[..., Any], first: bool) -> RemovableHandle:
    others = dict(hooks) if first else {}
    for key in others:
        del hooks[key]
    handle = hooks.add(hook)
    hooks.update(others)
    return handle


def _params_of(group: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """The tensors of a group, and their names if given."""
    given = group["params"]
    if isinstance(given, Tensor):
        return [given], []
    if isinstance(given, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
            "will change between runs. Please use a list instead."
        )
    given = list(given)
    named = [pair for pair in given if isinstance(pair, tuple)]
    if not named:
        return given, []
    if len(named) != len(given):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing: "
            f"{len(named)} of {len(given)} have one"
        )
    return [p for _, p in named], [name for name, _ in named]


def _copied(value: Any, p: Tensor, key: Hashable = None) -> Any:
    """A copy of a value of saved state; its tensors, except the step count, in the parameter's dtype."""
    if isinstance(value, Tensor):
        as_it_is = key == "step" or p._data.dtype.kind not in FLOATING
        return _wrap(value._data.astype(value._data.dtype if as_it_is else p._data.dtype))
    if isinstance(value, Mapping):
        return {name: _copied(v, p, name) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(v, p) for v in value)
    return copy.copy(value)
