"""The layers of the transformer, and stacks of them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn._autograd.modes import is_grad_enabled
from fastnn._core.devices import check_device
from fastnn._core.dtypes import as_numpy_dtype, default_numpy
from fastnn._core.dtypes import dtype as _dtype
from fastnn._tensor.tensor import Tensor, _wrap
from fastnn.nn import functional
from fastnn.nn.container import ModuleList, _runs
from fastnn.nn.dropout import Dropout
from fastnn.nn.functional.attention import canonical_mask
from fastnn.nn.init import xavier_uniform_
from fastnn.nn.linear import Linear
from fastnn.nn.module import Module
from fastnn.nn.multihead_attention import MultiheadAttention
from fastnn.nn.normalization import LayerNorm
from fastnn.ops.comparison import masked_fill

__all__ = [
    "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer",
]  # fmt: skip

_Activation = Callable[[Tensor], Tensor]
# Activations that the matrix product applies to its result.
_FUSED: dict[Any, str] = {functional.relu: "relu", functional.gelu: "gelu"}


def _get_activation_fn(activation: str) -> _Activation:
    if activation == "relu":
        return functional.relu
    if activation == "gelu":
        return functional.gelu
    raise RuntimeError(f"activation should be relu/gelu, not {activation}")


def _get_clones(module: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(count)])


class _Layer(Module):
    """The parts that encoder and decoder layers share: attention to itself, and two linear layers."""

    self_attn: MultiheadAttention
    linear1: Linear
    linear2: Linear
    dropout: Dropout
    activation: _Activation
    norm_first: bool

    __constants__ = ("norm_first",)

    def _attention(
        self, part: MultiheadAttention, x: Tensor, memory: Tensor, mask: Tensor | None, padding: Tensor | None,
        is_causal: bool,
    ) -> Tensor:  # fmt: skip
        return part(
            x, memory, memory, attn_mask=mask, key_padding_mask=padding, is_causal=is_causal, need_weights=False
        )[0]

    def _hidden(self, x: Tensor) -> Tensor:
        """The two linear layers, with the activation and dropout between them."""
        first, fused = self.linear1, _FUSED.get(self.activation)
        if fused is not None and _runs(first, Linear.forward):
            x = functional.linear_activation(x, first.weight, first.bias, fused)
        else:
            x = self.activation(first(x))
        return self.linear2(self.dropout(x))

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if "activation" not in self.__dict__:
            self.activation = functional.relu


class TransformerEncoderLayer(_Layer):
    """Attention of the rows of each sample to each other, then two linear layers; each with a sum and a LayerNorm.

    Args:
        d_model: features.
        nhead: heads of the attention, a divisor of ``d_model``.
        dim_feedforward: features between the two linear layers.
        dropout: the probability of every dropout.
        activation: between the two linear layers: 'relu', 'gelu' or a function of one tensor.
        layer_norm_eps: of the LayerNorms.
        batch_first: whether the batch is the first dimension, not the second.
        norm_first: whether a LayerNorm is applied before each part, not after the sum.
        bias: of the linear layers and LayerNorms.
        device, dtype: as for :class:`Linear`.

    Shape: (S, N, d_model), or (N, S, d_model) with ``batch_first``, or (S, d_model); the result has the same. Source:
    A. Vaswani et al., arXiv:1706.03762.

    >>> import fastnn
    >>> layer = fastnn.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> layer(fastnn.zeros(4, 5, 8)).shape
    torch.Size([4, 5, 8])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | _Activation = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        super().__init__()
        options = {"bias": bias, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=batch_first, **options)
        self.linear1 = Linear(d_model, dim_feedforward, **options)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **options)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, **options)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, **options)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _get_activation_fn(activation) if isinstance(activation, str) else activation

    @property
    def activation_relu_or_gelu(self) -> int:
        """1 for ReLU, 2 for GELU, 0 for another activation."""
        return {"relu": 1, "gelu": 2}.get(_FUSED.get(self.activation, ""), 0)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The shape of ``src``.

        Args:
            src_mask: as ``attn_mask`` of :class:`MultiheadAttention`.
            src_key_padding_mask: as ``key_padding_mask``.
            is_causal: whether ``src_mask`` is causal.
        """
        padding = canonical_mask(src_key_padding_mask, "src_key_padding_mask", src_mask, "src_mask", src)
        mask = canonical_mask(src_mask, "src_mask", None, "", src, False)
        x = src
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), mask, padding, is_causal)
            return x + self._ff_block(self.norm2(x))
        x = self.norm1(x + self._sa_block(x, mask, padding, is_causal))
        return self.norm2(x + self._ff_block(x))

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        return self.dropout1(self._attention(self.self_attn, x, x, attn_mask, key_padding_mask, is_causal))

    def _ff_block(self, x: Tensor) -> Tensor:
        return self.dropout2(self._hidden(x))


class TransformerDecoderLayer(_Layer):
    """Attention of the rows to each other, attention to the rows of ``memory``, then two linear layers.

    Args: as for :class:`TransformerEncoderLayer`.

    Shape: (T, N, d_model) and memory (S, N, d_model), or with the batch first, or without it.

    >>> import fastnn
    >>> layer = fastnn.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> layer(fastnn.zeros(4, 5, 8), fastnn.zeros(4, 7, 8)).shape
    torch.Size([4, 5, 8])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | _Activation = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        super().__init__()
        options = {"bias": bias, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=batch_first, **options)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=batch_first, **options)
        self.linear1 = Linear(d_model, dim_feedforward, **options)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **options)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, **options)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, **options)
        self.norm3 = LayerNorm(d_model, eps=layer_norm_eps, **options)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _get_activation_fn(activation) if isinstance(activation, str) else activation

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The shape of ``tgt``; masks as for :class:`MultiheadAttention`."""
        x = tgt
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), tgt_mask, tgt_key_padding_mask, tgt_is_causal)
            x = x + self._mha_block(self.norm2(x), memory, memory_mask, memory_key_padding_mask, memory_is_causal)
            return x + self._ff_block(self.norm3(x))
        x = self.norm1(x + self._sa_block(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))
        x = self.norm2(x + self._mha_block(x, memory, memory_mask, memory_key_padding_mask, memory_is_causal))
        return self.norm3(x + self._ff_block(x))

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        return self.dropout1(self._attention(self.self_attn, x, x, attn_mask, key_padding_mask, is_causal))

    def _mha_block(
        self, x: Tensor, mem: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None,
        is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        return self.dropout2(self._attention(self.multihead_attn, x, mem, attn_mask, key_padding_mask, is_causal))

    def _ff_block(self, x: Tensor) -> Tensor:
        return self.dropout3(self._hidden(x))


def _why_not_nested(layer: Any) -> str:
    """Why PyTorch would not leave out padding in evaluation mode; empty if it would."""
    if not isinstance(layer, TransformerEncoderLayer):
        return "encoder_layer was not TransformerEncoderLayer"
    attention = layer.self_attn
    if layer.norm_first:
        return "encoder_layer.norm_first was True"
    if not attention.batch_first:
        return (
            "encoder_layer.self_attn.batch_first was not True(use batch_first for better inference performance)"
        )
    if not attention._qkv_same_embed_dim:
        return "encoder_layer.self_attn._qkv_same_embed_dim was not True"
    if attention.in_proj_bias is None:
        return "encoder_layer.self_attn was passed bias=False"
    if not layer.activation_relu_or_gelu:
        return "encoder_layer.activation_relu_or_gelu was not True"
    if layer.norm1.eps != layer.norm2.eps:
        return "encoder_layer.norm1.eps was not equal to encoder_layer.norm2.eps"
    return "encoder_layer.self_attn.num_heads is odd" if attention.num_heads % 2 else ""


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after the other.

    Args:
        encoder_layer: a :class:`TransformerEncoderLayer`, or a module with the same arguments.
        num_layers: copies, all with the same initial parameters.
        norm: a module at the end, or None.
        enable_nested_tensor: in evaluation mode without gradients, whether rows of padding at the end of a sample
            become 0, as in PyTorch, which leaves them out.
        mask_check: whether that is done only if all padding is at the ends of samples.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    >>> encoder(fastnn.zeros(4, 5, 8)).shape
    torch.Size([4, 5, 8])
    """

    __constants__ = ("norm",)

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _get_clones(encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor = self.use_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check
        reason = _why_not_nested(encoder_layer)
        if enable_nested_tensor and reason:
            warnings.warn(
                f"enable_nested_tensor is True, but self.use_nested_tensor is False because {reason}", stacklevel=2
            )
            self.use_nested_tensor = False

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """The shape of ``src``; arguments as for :class:`TransformerEncoderLayer`."""
        padding = canonical_mask(src_key_padding_mask, "src_key_padding_mask", mask, "mask", src)
        added = canonical_mask(mask, "mask", None, "", src, False)
        output = src
        for layer in self.layers:
            output = layer(output, src_mask=added, is_causal=bool(is_causal), src_key_padding_mask=padding)
        if padding is not None and mask is None and self._leaves_out(src, padding):
            output = masked_fill(output, (padding != 0).unsqueeze(-1), 0.0)
        return output if self.norm is None else self.norm(output)

    def _leaves_out(self, src: Tensor, padding: Tensor) -> bool:
        """Whether PyTorch would compute the rows without padding only, and return 0 for the others."""
        if not self.use_nested_tensor or self.layers[0].training or src._data.ndim != 3:
            return False
        if is_grad_enabled() and (src._requires_grad or any(p._requires_grad for p in self.layers[0].parameters())):
            return False
        hidden = padding._data != 0
        return not self.mask_check or bool((hidden[:, 1:] >= hidden[:, :-1]).all())


class TransformerDecoder(Module):
    """Copies of a decoder layer, one after the other.

    Args:
        decoder_layer: a :class:`TransformerDecoderLayer`, or a module with the same arguments.
        num_layers: copies, all with the same initial parameters.
        norm: a module at the end, or None.

    >>> import fastnn
    >>> nn = fastnn.nn
    >>> decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2)
    >>> decoder(fastnn.zeros(5, 4, 8), fastnn.zeros(7, 4, 8)).shape
    torch.Size([5, 4, 8])
    """

    __constants__ = ("norm",)

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _get_clones(decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The shape of ``tgt``; arguments as for :class:`TransformerDecoderLayer`."""
        output = tgt
        for layer in self.layers:
            output = layer(
                output, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return output if self.norm is None else self.norm(output)


class Transformer(Module):
    """An encoder and a decoder.

    Args:
        d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device,
            dtype: as for :class:`TransformerEncoderLayer`.
        num_encoder_layers, num_decoder_layers: layers of each.
        custom_encoder, custom_decoder: modules in their place, or None.

    All matrices start with Glorot's rule. Source: A. Vaswani et al., arXiv:1706.03762.

    >>> import fastnn
    >>> model = fastnn.nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    >>> model(fastnn.zeros(4, 7, 8), fastnn.zeros(4, 5, 8)).shape
    torch.Size([4, 5, 8])
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | _Activation = functional.relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: _dtype | None = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        layer = d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first
        if custom_encoder is not None:
            self.encoder = custom_encoder
        else:
            norm = LayerNorm(d_model, eps=layer_norm_eps, **options)
            self.encoder = TransformerEncoder(TransformerEncoderLayer(*layer, **options), num_encoder_layers, norm)
        if custom_decoder is not None:
            self.decoder = custom_decoder
        else:
            norm = LayerNorm(d_model, eps=layer_norm_eps, **options)
            self.decoder = TransformerDecoder(TransformerDecoderLayer(*layer, **options), num_decoder_layers, norm)
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The shape of ``tgt``; masks as for :class:`MultiheadAttention`."""
        batch = 0 if self.batch_first else 1
        if src._data.ndim == 3 and src._data.shape[batch] != tgt._data.shape[batch]:
            raise RuntimeError(
                "the batch number of src and tgt must be equal, found shapes "
                f"{tuple(src.shape)} and {tuple(tgt.shape)}"
            )
        if src._data.shape[-1] != self.d_model or tgt._data.shape[-1] != self.d_model:
            raise RuntimeError(
                f"the feature number of src and tgt must be equal to d_model, {self.d_model}, found shapes "
                f"{tuple(src.shape)} and {tuple(tgt.shape)}"
            )
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: _dtype | None = None) -> Tensor:
        """A causal mask (sz, sz): -infinity above the diagonal, 0 elsewhere.

        >>> import fastnn
        >>> fastnn.nn.Transformer.generate_square_subsequent_mask(2)
        tensor([[0., -inf],
                [0., 0.]])
        """
        check_device(device)
        kind = as_numpy_dtype(dtype, default_numpy())
        return _wrap(np.triu(np.full((sz, sz), -np.inf, kind), 1))

    def _reset_parameters(self) -> None:
        """Redraw all matrices by Glorot's rule."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                xavier_uniform_(parameter)
