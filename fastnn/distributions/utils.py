"""Helpers under the names of ``torch.distributions.utils``."""

from fastnn.distributions.distribution import (
    broadcast_all,
    clamp_probs,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
    tril_matrix_to_vec,
    vec_to_tril_matrix,
)
from fastnn.distributions.distribution import standard_normal as _standard_normal
from fastnn.distributions.distribution import sum_rightmost as _sum_rightmost

euler_constant = 0.57721566490153286060

__all__ = [
    "_standard_normal",
    "_sum_rightmost",
    "broadcast_all",
    "clamp_probs",
    "euler_constant",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]
