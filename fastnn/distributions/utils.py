"""Helpers under the names of ``torch.distributions.utils``."""

from fastnn.distributions.distribution import broadcast_all, clamp_probs, lazy_property

__all__ = ["broadcast_all", "clamp_probs", "lazy_property"]
