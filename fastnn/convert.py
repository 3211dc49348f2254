"""Conversion of models, tensors and state dicts to and from PyTorch, and of models from scikit-learn.

A module is rebuilt from the name of its class and the arguments of its constructor, which its attributes hold; then
the state dict is copied. The result shares no memory with the source.
"""

from __future__ import annotations

import importlib
import inspect
from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np

import fastnn
from fastnn._core.absent import is_only_a_name

# Containers, which are filled after construction.
_CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")
# Layers whose arguments are attributes of their parts.
_ATTENTION = {
    "MultiheadAttention", "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer",
}  # fmt: skip
# Arguments that are not attributes: older spellings of `reduction`, and the place of the parameters.
_NOT_KEPT = {"size_average", "reduce", "device", "dtype", "args", "kwargs", "init", "bias"}


def from_torch(obj: Any, into: Any = None) -> Any:
    """Convert a module, a tensor, or a state dict (or list, tuple) of tensors from PyTorch to fastnn.

    Args:
        obj: a module of ``torch.nn``, with only modules of ``torch.nn`` in it; a tensor or parameter; or
            dictionaries, lists and tuples of those, of numbers and of strings.
        into: a fastnn module that receives the values; for user-defined modules, whose state dict has the same
            names on both sides. ``obj`` may be its state dict.

    Returns:
        A new object with copies of all values, or ``into``. Shared parameters stay shared; ``requires_grad`` and
        ``training`` are kept; hooks are not.

    Raises: ImportError without PyTorch; TypeError for objects that fastnn does not have; RuntimeError, from
        ``load_state_dict``, if ``into`` has other names or shapes.

    ::

        model = fastnn.convert.from_torch(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    """
    return _Conversion(_torch(), fastnn).run(obj, into)


def to_torch(obj: Any, into: Any = None) -> Any:
    """Convert from fastnn to PyTorch: the reverse of :func:`from_torch`, with the same arguments.

    Raises: as :func:`from_torch`.

    ::

        model = fastnn.convert.to_torch(fastnn.nn.Sequential(fastnn.nn.Linear(4, 3), fastnn.nn.ReLU()))
    """
    return _Conversion(fastnn, _torch()).run(obj, into)


def _torch() -> ModuleType:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ImportError("fastnn.convert needs PyTorch, which is not installed: pip install torch") from error
    if torch is fastnn:
        raise ImportError("fastnn.convert needs PyTorch, and under fastnn run that name is fastnn's own")
    return torch


class _Conversion:
    """One conversion between the libraries; each parameter and module is converted once."""

    def __init__(self, source: Any, target: Any) -> None:
        self.source, self.target = source, target
        self.made: dict[int, Any] = {}

    def run(self, obj: Any, into: Any) -> Any:
        if into is None:
            return self.module(obj) if isinstance(obj, self.source.nn.Module) else self.value(obj)
        if not isinstance(into, self.target.nn.Module):
            raise TypeError(f"into must be a {self.target.__name__} module, found {type(into).__name__}")
        state = obj.state_dict() if isinstance(obj, self.source.nn.Module) else obj
        if not isinstance(state, dict):
            raise TypeError(f"obj must be a module or a state dict to go into a module, found {type(obj).__name__}")
        into.load_state_dict(self.value(state))
        return into

    # -- Values -------------------------------------------------------------------------------

    def value(self, value: Any) -> Any:
        if isinstance(value, self.source.Tensor):
            return self.tensor(value)
        if isinstance(value, dict):
            kind = OrderedDict if isinstance(value, OrderedDict) else dict
            return kind((key, self.value(item)) for key, item in value.items())
        if isinstance(value, (list, tuple)):
            # A named tuple and a torch.Size become plain tuples.
            return (list if isinstance(value, list) else tuple)(self.value(item) for item in value)
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return value
        raise TypeError(f"{self.target.__name__} has no equal of an object of type {_full_name(type(value))}")

    def tensor(self, tensor: Any) -> Any:
        if id(tensor) in self.made:
            return self.made[id(tensor)][1]
        # NumPy has no bfloat16, so its bits go over.
        is_low = tensor.dtype is self.source.bfloat16
        plain = tensor.detach().cpu()
        try:
            array = np.array((plain.view(self.source.int16) if is_low else plain).numpy())
        except (TypeError, RuntimeError) as error:
            raise TypeError(f"a tensor of dtype {tensor.dtype} cannot be converted: {error}") from error
        made = self.target.from_numpy(array)
        if is_low:
            made = made.view(self.target.bfloat16)
        if isinstance(tensor, self.source.nn.Parameter):
            made = self.target.nn.Parameter(made, requires_grad=tensor.requires_grad)
        elif tensor.requires_grad:
            made.requires_grad_()
        self.made[id(tensor)] = tensor, made
        return made

    # -- Modules ------------------------------------------------------------------------------

    def module(self, module: Any) -> Any:
        made = self.built(module)
        made.load_state_dict(self.value(module.state_dict()))
        self.share(module, made)
        for old, new in zip(module.parameters(), made.parameters(), strict=True):
            new.requires_grad_(old.requires_grad)
        for old, new in zip(module.modules(), made.modules(), strict=True):
            new.training = old.training
        return made

    def built(self, module: Any) -> Any:
        """A new module of the same class and arguments, with its own initial values."""
        if id(module) in self.made:
            return self.made[id(module)][1]
        kind = type(module)
        if getattr(self.source.nn, kind.__name__, None) is not kind:
            raise TypeError(
                f"{_full_name(kind)} is no class of {self.source.__name__}.nn: make the "
                f"{self.target.__name__} module yourself, and give it as into="
            )
        target = getattr(self.target.nn, kind.__name__, None)
        if target is None or is_only_a_name(target):
            raise TypeError(f"{self.target.__name__} has no nn.{kind.__name__}")
        if kind.__name__ in _CONTAINERS:
            made = target()
            # Not `named_children`, which yields a duplicate child only once.
            for name, child in module._modules.items():
                made.add_module(name, None if child is None else self.built(child))
        elif kind.__name__ in ("ParameterList", "ParameterDict"):
            items = dict(module.items()) if kind.__name__ == "ParameterDict" else list(module)
            made = target(self.value(items))
        else:
            made = target(**self.arguments(module, target))
        self.made[id(module)] = module, made
        return made

    def arguments(self, module: Any, target: type) -> dict[str, Any]:
        """The arguments of ``target``'s constructor: the attributes of ``module`` with the same names."""
        if target.__name__ in _ATTENTION:
            return self.attention(module)
        given: dict[str, Any] = {}
        parameters = inspect.signature(target).parameters
        for name, parameter in parameters.items():
            if name in _NOT_KEPT or name.startswith("_") or parameter.kind in _VARIABLE:
                continue
            if hasattr(module, name):
                given[name] = self.argument(getattr(module, name))
            elif parameter.default is inspect.Parameter.empty:
                raise TypeError(f"{type(module).__name__} has no attribute {name}, which its constructor needs")
        if "bias" in parameters:
            given["bias"] = getattr(module, "bias", None) is not None
        dtype = next((p.dtype for p in module.parameters(recurse=False) if p.is_floating_point()), None)
        if "dtype" in parameters and dtype is not None:
            given["dtype"] = getattr(self.target, str(dtype).rpartition(".")[2])
        return given

    def argument(self, value: Any) -> Any:
        return self.built(value) if isinstance(value, self.source.nn.Module) else self.value(value)

    def attention(self, module: Any) -> dict[str, Any]:
        """The arguments of layers of attention, whose parts have them."""
        kind = type(module).__name__
        if kind == "Transformer":
            parts = {"custom_encoder": self.built(module.encoder), "custom_decoder": self.built(module.decoder)}
            return {"d_model": module.d_model, "nhead": module.nhead, "batch_first": module.batch_first} | parts
        if kind in ("TransformerEncoder", "TransformerDecoder"):
            layer = "encoder_layer" if kind == "TransformerEncoder" else "decoder_layer"
            given = {"num_layers": module.num_layers, layer: self.built(module.layers[0])}
            if kind == "TransformerEncoder":
                given["enable_nested_tensor"] = module.use_nested_tensor
            return given | {"norm": None if module.norm is None else self.built(module.norm)}
        found = {"dtype": getattr(self.target, str(next(module.parameters()).dtype).rpartition(".")[2])}
        heads = module if kind == "MultiheadAttention" else module.self_attn
        found |= {"bias": heads.in_proj_bias is not None, "batch_first": heads.batch_first}
        if heads is module:
            names = "embed_dim", "num_heads", "dropout", "kdim", "vdim", "add_zero_attn"
            return found | {name: getattr(module, name) for name in names} | {"add_bias_kv": module.bias_k is not None}
        return found | {
            "d_model": heads.embed_dim, "nhead": heads.num_heads, "dim_feedforward": module.linear1.out_features,
            "dropout": module.dropout.p, "activation": self.activation(module.activation),
            "layer_norm_eps": module.norm1.eps, "norm_first": module.norm_first,
        }  # fmt: skip

    def activation(self, activation: Any) -> Any:
        if isinstance(activation, self.source.nn.Module):
            return self.built(activation)
        name = getattr(activation, "__name__", "")
        found = getattr(self.target.nn.functional, name, None)
        if found is None or activation is not getattr(self.source.nn.functional, name, None):
            raise TypeError(f"the activation {activation!r} is no function of {self.source.__name__}.nn.functional")
        return found

    def share(self, module: Any, made: Any) -> None:
        """Share each parameter that ``module`` has under several names."""
        first: dict[int, Any] = {}
        owners = dict(made.named_modules(remove_duplicate=False))
        for name, parameter in module.named_parameters(remove_duplicate=False):
            owner, _, last = name.rpartition(".")
            new = getattr(owners[owner], last)
            if first.setdefault(id(parameter), new) is not new:
                setattr(owners[owner], last, first[id(parameter)])


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _full_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# -- scikit-learn -----------------------------------------------------------------------------


def from_sklearn(estimator: Any) -> Any:
    """A module that computes what a fitted estimator of scikit-learn does.

    Args:
        estimator: an ``MLPClassifier``, ``MLPRegressor`` or ``StandardScaler``, or a ``Pipeline`` of scalers with one
            of the others at the end.

    Returns:
        A module with copies of the numbers, in their dtype; the scaler's are buffers. It has the methods ``predict``,
        ``predict_proba`` (of a classifier) or ``transform`` (of a scaler) of the estimator, which take and return
        arrays. Called on a tensor it returns the values of a regressor as a matrix; of a classifier the logits, for
        ``CrossEntropyLoss``, or for ``BCEWithLogitsLoss`` if there are two classes or several labels.

    Raises: TypeError for another estimator; ValueError for one that is not fitted.

    ::

        model = fastnn.convert.from_sklearn(make_pipeline(StandardScaler(), MLPClassifier()).fit(x, y))
        model.predict_proba(x)
    """
    steps = [estimator]
    if _is_sklearn(estimator, "Pipeline"):
        steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    steps = steps or [estimator]
    *scalers, last = steps
    for step in steps:
        kinds = ("StandardScaler",) if step is not last else ("StandardScaler", "MLPClassifier", "MLPRegressor")
        if not any(_is_sklearn(step, kind) for kind in kinds):
            raise TypeError(
                f"an object of type {_full_name(type(step))} cannot be converted here; from_sklearn takes "
                "scikit-learn's StandardScaler, MLPClassifier and MLPRegressor, and a Pipeline of scalers and one of "
                "these"
            )
        if not hasattr(step, "n_features_in_"):
            raise ValueError(f"this {type(step).__name__} is not fitted yet: call fit() first")
    if _is_sklearn(last, "StandardScaler"):
        return _Estimator([*scalers, last], None)
    return (_Classifier if _is_sklearn(last, "MLPClassifier") else _Regressor)(scalers, last)


def _is_sklearn(estimator: Any, name: str) -> bool:
    """Whether it is of a class of scikit-learn, which is not imported for that."""
    return any(k.__name__ == name and k.__module__.startswith("sklearn.") for k in type(estimator).__mro__)


class _Scaler(fastnn.nn.Module):
    """``(x - mean) / scale``."""

    mean: fastnn.Tensor | None
    scale: fastnn.Tensor | None

    def __init__(self, scaler: Any, dtype: Any) -> None:
        super().__init__()
        for name, values, used in (
            ("mean", scaler.mean_, scaler.with_mean), ("scale", scaler.scale_, scaler.with_std),
        ):  # fmt: skip
            self.register_buffer(name, fastnn.from_numpy(np.array(values, dtype)) if used else None)

    def forward(self, input: fastnn.Tensor) -> fastnn.Tensor:
        """The shape of the input."""
        if self.mean is not None:
            input = input - self.mean
        return input if self.scale is None else input / self.scale


class _Estimator(fastnn.nn.Module):
    """Scalers, and the layers of a perceptron if there is one."""

    def __init__(self, scalers: list[Any], perceptron: Any) -> None:
        super().__init__()
        self._dtype = np.dtype(np.float64) if perceptron is None else perceptron.coefs_[0].dtype
        self.scalers = fastnn.nn.Sequential(*[_Scaler(s, self._dtype) for s in scalers])
        self.layers = fastnn.nn.Sequential()
        weights = [] if perceptron is None else list(zip(perceptron.coefs_, perceptron.intercepts_, strict=True))
        for i, (weight, bias) in enumerate(weights):
            layer = fastnn.nn.Linear(weight.shape[0], weight.shape[1], dtype=fastnn.from_numpy(weight[:0]).dtype)
            layer.load_state_dict({"weight": fastnn.from_numpy(np.array(weight.T)), "bias": fastnn.from_numpy(bias)})
            self.layers.append(layer)
            if i + 1 < len(weights) and perceptron.activation != "identity":
                self.layers.append(_ACTIVATIONS[perceptron.activation]())
        if getattr(perceptron, "out_activation_", None) == "exp":
            # Of Poisson regression.
            self.layers.append(_Exp())

    def forward(self, input: fastnn.Tensor) -> fastnn.Tensor:
        """(samples, features) to (samples, outputs)."""
        return self.layers(self.scalers(input))

    def _outputs(self, X: Any) -> np.ndarray:
        array = np.array(X.toarray() if hasattr(X, "toarray") else X, self._dtype)
        if array.ndim != 2:
            raise ValueError(f"X must have two dimensions, (samples, features), found shape {array.shape}")
        was, self.training = self.training, False
        try:
            with fastnn.no_grad():
                found = self(fastnn.from_numpy(array))
        finally:
            self.training = was
        return np.array(found.numpy())

    def transform(self, X: Any) -> np.ndarray:
        """The scaled features of an array (samples, features)."""
        return self._outputs(X)


class _Exp(fastnn.nn.Module):
    """``exp(x)``."""

    def forward(self, input: fastnn.Tensor) -> fastnn.Tensor:
        """The shape of the input."""
        return input.exp()


class _Regressor(_Estimator):
    """An ``MLPRegressor`` after scalers."""

    def predict(self, X: Any) -> np.ndarray:
        """The values of an array (samples, features): a vector if there is one output."""
        found = self._outputs(X)
        return found.ravel() if found.shape[1] == 1 else found


class _Classifier(_Estimator):
    """An ``MLPClassifier`` after scalers."""

    def __init__(self, scalers: list[Any], perceptron: Any) -> None:
        super().__init__(scalers, perceptron)
        self.classes_ = np.array(perceptron.classes_)
        self._softmax = perceptron.out_activation_ == "softmax"
        self._multilabel = perceptron._label_binarizer.y_type_.startswith("multilabel")

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the classes for an array (samples, features)."""
        logits = fastnn.from_numpy(self._outputs(X))
        if self._softmax:
            return np.array(logits.softmax(1).numpy())
        found = np.array(logits.sigmoid().numpy())
        return found if self._multilabel else np.concatenate([1 - found, found], 1)

    def predict(self, X: Any) -> np.ndarray:
        """The classes for an array (samples, features); for several labels a matrix of 0 and 1."""
        logits = self._outputs(X)
        if self._multilabel:
            return (logits > 0).astype(np.int64)
        found = logits.argmax(1) if self._softmax else (logits[:, 0] > 0).astype(np.int64)
        # A classifier that was fitted to one class has one logit as well.
        return self.classes_[np.minimum(found, len(self.classes_) - 1)]


_ACTIVATIONS: dict[str, type] = {"relu": fastnn.nn.ReLU, "tanh": fastnn.nn.Tanh, "logistic": fastnn.nn.Sigmoid}
