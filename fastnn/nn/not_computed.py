"""The layers and functions of PyTorch's ``nn`` that fastnn does not compute, as names.

Programs import them, test for them by ``isinstance`` and derive from them. Making one, or calling a function, raises
NotImplementedError with one sentence. A class is created when its name is first looked up.
"""

from __future__ import annotations

import importlib
from typing import Any

from fastnn._core.absent import absent_class, absent_function

# PyTorch's file of ``nn.modules``: its classes, each with its bases; without bases, Module.
LAYERS = {
    "adaptive": "AdaptiveLogSoftmaxWithLoss",
    "batchnorm": """
        BatchNorm2d(_BatchNorm) BatchNorm3d(_BatchNorm) _LazyNormBase
        LazyBatchNorm1d(_LazyNormBase,_BatchNorm) LazyBatchNorm2d(_LazyNormBase,_BatchNorm)
        LazyBatchNorm3d(_LazyNormBase,_BatchNorm)
    """,
    "channelshuffle": "ChannelShuffle",
    "conv": """
        _ConvNd Conv1d(_ConvNd) Conv2d(_ConvNd) Conv3d(_ConvNd)
        _ConvTransposeNd(_ConvNd) ConvTranspose1d(_ConvTransposeNd) ConvTranspose2d(_ConvTransposeNd)
        ConvTranspose3d(_ConvTransposeNd)
        LazyConv1d(Conv1d) LazyConv2d(Conv2d) LazyConv3d(Conv3d)
        LazyConvTranspose1d(ConvTranspose1d) LazyConvTranspose2d(ConvTranspose2d) LazyConvTranspose3d(ConvTranspose3d)
    """,
    "fold": "Fold Unfold",
    "instancenorm": """
        InstanceNorm2d(_InstanceNorm) InstanceNorm3d(_InstanceNorm)
        LazyInstanceNorm1d(_LazyNormBase,_InstanceNorm) LazyInstanceNorm2d(_LazyNormBase,_InstanceNorm)
        LazyInstanceNorm3d(_LazyNormBase,_InstanceNorm)
    """,
    "loss": "CTCLoss(_Loss) LinearCrossEntropyLoss(_WeightedLoss)",
    "normalization": "CrossMapLRN2d LocalResponseNorm",
    "padding": """
        _CircularPadNd CircularPad1d(_CircularPadNd) CircularPad2d(_CircularPadNd) CircularPad3d(_CircularPadNd)
        _ConstantPadNd ConstantPad1d(_ConstantPadNd) ConstantPad2d(_ConstantPadNd) ConstantPad3d(_ConstantPadNd)
        ZeroPad1d(ConstantPad1d) ZeroPad2d(ConstantPad2d) ZeroPad3d(ConstantPad3d)
        _ReflectionPadNd ReflectionPad1d(_ReflectionPadNd) ReflectionPad2d(_ReflectionPadNd)
        ReflectionPad3d(_ReflectionPadNd)
        _ReplicationPadNd ReplicationPad1d(_ReplicationPadNd) ReplicationPad2d(_ReplicationPadNd)
        ReplicationPad3d(_ReplicationPadNd)
    """,
    "pixelshuffle": "PixelShuffle PixelUnshuffle",
    "pooling": """
        _AdaptiveAvgPoolNd AdaptiveAvgPool1d(_AdaptiveAvgPoolNd) AdaptiveAvgPool2d(_AdaptiveAvgPoolNd)
        AdaptiveAvgPool3d(_AdaptiveAvgPoolNd)
        _AdaptiveMaxPoolNd AdaptiveMaxPool1d(_AdaptiveMaxPoolNd) AdaptiveMaxPool2d(_AdaptiveMaxPoolNd)
        AdaptiveMaxPool3d(_AdaptiveMaxPoolNd)
        _AvgPoolNd AvgPool1d(_AvgPoolNd) AvgPool2d(_AvgPoolNd) AvgPool3d(_AvgPoolNd)
        _LPPoolNd LPPool1d(_LPPoolNd) LPPool2d(_LPPoolNd) LPPool3d(_LPPoolNd)
        _MaxPoolNd MaxPool1d(_MaxPoolNd) MaxPool2d(_MaxPoolNd) MaxPool3d(_MaxPoolNd)
        _MaxUnpoolNd MaxUnpool1d(_MaxUnpoolNd) MaxUnpool2d(_MaxUnpoolNd) MaxUnpool3d(_MaxUnpoolNd)
        FractionalMaxPool2d FractionalMaxPool3d
    """,
    "rnn": """
        RNNBase RNN(RNNBase) LSTM(RNNBase) GRU(RNNBase)
        RNNCellBase RNNCell(RNNCellBase) LSTMCell(RNNCellBase) GRUCell(RNNCellBase)
    """,
}  # fmt: skip

# Functions of `nn.functional`.
_FUNCTIONS = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool1d_with_indices
    adaptive_max_pool2d adaptive_max_pool2d_with_indices adaptive_max_pool3d adaptive_max_pool3d_with_indices
    affine_grid avg_pool1d avg_pool2d avg_pool3d channel_shuffle conv1d conv2d conv3d conv_tbc conv_transpose1d
    conv_transpose2d conv_transpose3d ctc_loss fold fractional_max_pool2d fractional_max_pool2d_with_indices
    fractional_max_pool3d fractional_max_pool3d_with_indices grid_sample linear_cross_entropy
    local_response_norm lp_pool1d lp_pool2d lp_pool3d max_pool1d max_pool1d_with_indices max_pool2d
    max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool1d max_unpool2d max_unpool3d
    pixel_shuffle pixel_unshuffle unfold
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())

# Bases that fastnn has, by the file of `fastnn.nn` with the class.
_BASES = {
    "Module": "module", "_BatchNorm": "normalization", "_InstanceNorm": "normalization", "_Loss": "loss",
    "_WeightedLoss": "loss",
}  # fmt: skip


def _entries() -> dict[str, tuple[str, tuple[str, ...]]]:
    """By class, PyTorch's file and the names of its bases."""
    found = {}
    for file, classes in LAYERS.items():
        for entry in classes.split():
            name, _, bases = entry.rstrip(")").partition("(")
            found[name] = file, tuple(bases.split(",")) if bases else ("Module",)
    return found


_ENTRIES = _entries()
_made: dict[str, Any] = {}


def names(file: str = "") -> list[str]:
    """The classes of one of PyTorch's files, or of all of them.

    >>> names("fold")
    ['Fold', 'Unfold']
    """
    return [name for name, (home, _) in _ENTRIES.items() if file in ("", home)]


def layer(name: str) -> Any:
    """The class of that name, None if the table does not have it.

    >>> layer("Conv2d").__mro__[1].__name__, layer("Linear")
    ('_ConvNd', None)
    """
    if name not in _ENTRIES:
        return None
    if name not in _made:
        file, bases = _ENTRIES[name]
        classes = tuple(_base(base) for base in bases)
        full = f"torch.nn.modules.{file}.{name}" if name.startswith("_") else f"torch.nn.{name}"
        _made[name] = absent_class(full, classes, module=f"fastnn.nn.modules.{file}")
    return _made[name]


def _base(name: str) -> Any:
    if name in _BASES:
        return getattr(importlib.import_module(f"fastnn.nn.{_BASES[name]}"), name)
    return layer(name)


def function(name: str) -> Any:
    """The function of ``nn.functional`` of that name, None if the table does not have it."""
    if name not in FUNCTIONS:
        return None
    if name not in _made:
        _made[name] = absent_function(f"torch.nn.functional.{name}")
    return _made[name]
