"""Rules of layers."""

from __future__ import annotations

from typing import Any

from fastnn._functorch.batched import (
    Level,
    by_loop,
    front,
    is_in,
    looped,
    refuse_dynamic,
    refuse_random,
    wrapped,
)
from fastnn._functorch.rules.indexing import _range
from fastnn._functorch.rules.table import Args, Options, _all_aligned, _argument, rule


@rule("linear", "linear_activation")
def _linear(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn._functorch.products import batched_linear

    given = dict(zip(("input", "weight", "bias", "activation", "slope", "may_change"), args, strict=False)) | kwargs
    kind = given.get("activation", "none")
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    if not is_in(weight, level) and not is_in(bias, level):
        return wrapped(func(x._value, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"}), level)
    out = batched_linear(x, weight, bias, level)
    if kind == "none":
        return out
    from fastnn.nn.activation_core import _activation

    return wrapped(_activation(out._value, kind, given.get("slope", 0.01)), level)


@rule("bilinear")
def _bilinear(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn.nn import functional

    given = dict(zip(("input1", "input2", "weight", "bias"), args, strict=False)) | kwargs
    a, b, weight = given["input1"], given["input2"], given["weight"]
    products = a.unsqueeze(-1) * b.unsqueeze(-2)
    return functional.linear(products.flatten(-2), weight.flatten(1), given.get("bias"))


def _channels(t: Any, ndim: int) -> Any:
    """One number for each channel, dimension 1 of a tensor."""
    return t.reshape(-1, *(1,) * (ndim - 2)) if ndim > 2 else t


@rule("prelu")
def _prelu(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn.ops.comparison import where

    x, weight = (*args, *kwargs.values())
    if weight.ndim and weight.shape[0] > 1 and x.ndim > 1:
        weight = _channels(weight, x.ndim)
    elif weight.ndim and weight.shape[0] == 1:
        weight = weight.reshape(())
    return where(x > 0, x, x * weight)


@rule("layer_norm", "layer_norm_activation", "rms_norm")
def _layer_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    from fastnn.nn import functional

    names = ["input", "normalized_shape", "weight", "bias", "eps", "activation"]
    if func.__name__ == "rms_norm":
        names.remove("bias")
    given = dict(zip(names, args, strict=False)) | kwargs
    x, shape = front(given["input"], level), given["normalized_shape"]
    weight, bias = given.get("weight"), given.get("bias")
    if func.__name__ == "rms_norm":
        if not is_in(weight, level):
            return wrapped(functional.rms_norm(x, shape, weight, given.get("eps")), level)
        return wrapped(functional.rms_norm(x, shape, None, given.get("eps")), level) * weight
    if given.get("activation", "none") != "none":
        return by_loop(func, level, args, kwargs)
    eps = given.get("eps", 1e-5)
    if not is_in(weight, level) and not is_in(bias, level):
        return wrapped(functional.layer_norm(x, shape, weight, bias, eps), level)
    found = wrapped(functional.layer_norm(x, shape, None, None, eps), level)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


@rule("group_norm")
def _group_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    given = dict(zip(("input", "num_groups", "weight", "bias", "eps"), args, strict=False)) | kwargs
    x, weight, bias = given["input"], given.get("weight"), given.get("bias")
    value = front(x, level)
    found = func(value.flatten(0, 1), given["num_groups"], None, None, given.get("eps", 1e-5))
    made = wrapped(found.reshape(value.shape), level)
    made = made if weight is None else made * _channels(weight, x.ndim)
    return made if bias is None else made + _channels(bias, x.ndim)


def _folded(t: Any, level: Level) -> Any:
    """One number for each channel of each element of the batch."""
    return None if t is None else front(t, level).reshape(-1)


@rule("batch_norm", "instance_norm")
def _batch_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    instance = func.__name__ == "instance_norm"
    flag = "use_input_stats" if instance else "training"
    names = ("input", "running_mean", "running_var", "weight", "bias", flag, "momentum", "eps")
    given = dict(zip(names, args, strict=False)) | kwargs
    x, mean, var = given["input"], given.get("running_mean"), given.get("running_var")
    updates = given.get(flag, instance) and mean is not None
    if updates and not (is_in(mean, level) and is_in(var, level)):
        raise RuntimeError(
            "Batch norm got a batched tensor as input while the running_mean or running_var, which will be updated in "
            "place, were not batched.\nIf you are using modules and do not need eval mode, please set "
            "`track_running_stats` to be False.If you are using a prebuilt module and do not need eval mode, please "
            "see torch.func.replace_all_batch_norm_modules_ to replace it"
        )
    # The channels of all elements are channels of one batch.
    value = front(x, level).movedim(0, 1)
    shape = value.shape
    stats: list[Any] = [mean, var]
    # Those that are updated are written to.
    flat = [t._value.reshape(-1).contiguous() for t in stats] if updates else [_folded(t, level) for t in stats]
    found = func(
        value.reshape(shape[0], -1, *shape[3:]), *flat, _folded(given.get("weight"), level),
        _folded(given.get("bias"), level), given.get(flag, instance), given.get("momentum", 0.1),
        given.get("eps", 1e-5),
    )  # fmt: skip
    if updates:
        for t, new in zip(stats, flat, strict=True):
            t._value.copy_(new.reshape(t._value.shape).detach())
    return wrapped(found.reshape(shape).movedim(1, 0), level)


@rule("_fused")
def _running_norm(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """``BatchNorm1d`` with its kernel's method, of a module whose tensors may be elements of a batch."""
    from fastnn.nn import functional

    module, x, *_ = args
    module._check_input_dim(x)
    mean, var = module._buffers["running_mean"], module._buffers["running_var"]
    momentum, counter = 0.0 if module.momentum is None else module.momentum, module._buffers["num_batches_tracked"]
    training = module.training or (mean is None and var is None)
    if module.training and module.track_running_stats and counter is not None:
        if is_in(counter, level):
            counter.add_(1)
        else:
            counter.add_(1)
        if module.momentum is None:
            momentum = 1.0 / float((counter._value if is_in(counter, level) else counter).reshape(-1)[0])
    if module.training and not module.track_running_stats:
        mean = var = None
    return functional.batch_norm(x, mean, var, module.weight, module.bias, training, momentum, module.eps)


@rule("_attend")
def _attend(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    """The kernel of attention: the elements of the batch are more of its batches."""
    sources, mask, how, need_weights = args
    if how.state is not None:
        if level.randomness == "error":
            refuse_random()
        if level.randomness == "same":
            return looped(func, level, args, kwargs)
    axis, count = how.batches_axis, level.size
    batches = sources[0].shape[axis]

    def folded(t: Any, axis: int) -> Any:
        value = front(t, level).movedim(0, axis)
        return value.reshape(*value.shape[:axis], count * batches, *value.shape[axis + 2 :])

    def unfolded(value: Any, axis: int) -> Any:
        return wrapped(
            value.reshape(*value.shape[:axis], count, batches, *value.shape[axis + 1 :]).movedim(axis, 0), level
        )

    if mask is not None and (is_in(mask, level) or (mask.ndim == 4 and mask.shape[0] > 1)):
        mask = mask.reshape(*(1,) * (4 - mask.ndim), *mask.shape)
        mask = folded(mask.expand(batches, *mask.shape[1:]), 0)
    found, weights = func(tuple([folded(t, axis) for t in sources]), mask, how, need_weights)
    return unfolded(found, axis), None if weights is None else unfolded(weights, 0)


@rule("embedding")
def _embedding(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    x, weight = (*args, *[kwargs[k] for k in ("weight",) if k in kwargs])[:2]
    if not is_in(weight, level):
        rest = {k: v for k, v in kwargs.items() if k != "weight"}
        return wrapped(func(x._value, weight, *args[2:], **rest), level)
    padding, max_norm = _argument(args, kwargs, 2, "padding_idx"), _argument(args, kwargs, 3, "max_norm")
    if padding is not None or max_norm is not None:
        return looped(func, level, args, kwargs)
    count = weight.shape[0]
    value = front(x, level)
    rows = value + _range(level, value.ndim - 1) * count
    return wrapped(func(rows, weight._value.reshape(-1, weight.shape[1])), level)


@rule("one_hot")
def _one_hot(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    count = _argument(args, kwargs, 1, "num_classes", -1)
    if count == -1:
        refuse_dynamic("one_hot without num_classes")
    return wrapped(func(args[0]._value, count), level)


@rule("pairwise_distance")
def _pairwise_distance(func: Any, level: Level, args: Args, kwargs: Options) -> Any:
    values, options = _all_aligned(args, kwargs, level)
    return wrapped(func(*values, **options), level)
