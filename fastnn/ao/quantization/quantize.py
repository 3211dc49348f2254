"""``quantize_dynamic``: models with 8-bit weights, for inference."""

from __future__ import annotations

import copy
from typing import Any

from fastnn._core.quantized_dtypes import qint8
from fastnn.ao.nn.quantized import dynamic
from fastnn.ao.quantization.qconfig import default_dynamic_qconfig
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module

__all__ = ["get_default_dynamic_quant_module_mappings", "quantize_dynamic"]


def get_default_dynamic_quant_module_mappings() -> dict[type[Module], Any]:
    """The classes of modules that ``quantize_dynamic`` replaces, and their quantized classes."""
    return {Linear: dynamic.Linear}


def quantize_dynamic(
    model: Module, qconfig_spec: Any = None, dtype: Any = qint8, mapping: Any = None, inplace: bool = False, *,
    by_rows: bool = False,
) -> Module:  # fmt: skip
    """A copy of a model, in evaluation mode, whose linear layers have 8-bit weights.

    Args:
        model: its submodules are replaced, not the model itself, as in PyTorch.
        qconfig_spec: which ones: a set of classes and of names of submodules; or a dictionary of these with a
            :class:`QConfig` each (``per_channel_dynamic_qconfig`` has a scale for each row of a weight), which holds
            for submodules too; None for every Linear.
        dtype: qint8; not used with a dictionary.
        mapping: the classes that are replaced, with their quantized classes.
        inplace: change the model itself.
        by_rows: quantize each row of the input of a layer with a scale of its own, instead of one scale for the batch.
            PyTorch does not have it. The output for a row does not depend on the other rows then.

    Raises: ValueError, RuntimeError or NotImplementedError for another dtype; AttributeError for a ``qconfig_spec`` of
        another kind.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> quantized = fastnn.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=fastnn.qint8)
    >>> quantized(fastnn.zeros(5, 4)).shape, quantized[0].weight().dtype
    (torch.Size([5, 2]), torch.qint8)
    """
    if not isinstance(qconfig_spec, dict) and dtype is not qint8:
        if getattr(dtype, "name", "") in ("float16", "quint8", "quint4x2"):
            raise NotImplementedError(f"fastnn quantizes linear layers to torch.qint8, found dtype {dtype}")
        if qconfig_spec is None:
            raise ValueError(
                f"Don't know how to quantize with default settings for {dtype}. Provide full qconfig please"
            )
        raise RuntimeError(f"Unknown dtype specified for quantize_dynamic: {dtype}")
    if qconfig_spec is None:
        qconfig_spec = {Linear}
    if isinstance(qconfig_spec, (set, frozenset)):
        qconfig_spec = dict.fromkeys(qconfig_spec, default_dynamic_qconfig)
    if not isinstance(qconfig_spec, dict):
        raise AttributeError(f"qconfig_spec must be a set or a dictionary, found {type(qconfig_spec).__name__}")
    if not isinstance(model, Module):
        raise AttributeError(f"model must be a Module, found {type(model).__name__}")
    if not inplace:
        model = copy.deepcopy(model)
    model.eval()
    mapping = get_default_dynamic_quant_module_mappings() if mapping is None else mapping
    _replace(model, qconfig_spec, _config_of(model, "", qconfig_spec, None), "", mapping, by_rows)
    return model


def _config_of(module: Module, name: str, spec: dict[Any, Any], inherited: Any) -> Any:
    found = spec.get(name, spec.get(type(module), inherited))
    return getattr(module, "qconfig", found)


def _replace(
    module: Module, spec: dict[Any, Any], inherited: Any, prefix: str, mapping: dict[Any, Any], by_rows: bool
) -> None:
    for name, child in list(module.named_children()):
        full = f"{prefix}.{name}" if prefix else name
        config = _config_of(child, full, spec, inherited)
        if config is None or type(child) not in mapping:
            _replace(child, spec, config, full, mapping, by_rows)
            continue
        child.qconfig = config
        made = mapping[type(child)].from_float(child)
        if by_rows:
            made.by_rows = True
        for _, hook, with_kwargs, _ in child._hooks_of("_forward_pre_hooks"):
            made.register_forward_pre_hook(hook, with_kwargs=with_kwargs)
        for _, hook, with_kwargs, always in child._hooks_of("_forward_hooks"):
            made.register_forward_hook(hook, with_kwargs=with_kwargs, always_call=always)
        made.train(child.training)
        setattr(module, name, made)
