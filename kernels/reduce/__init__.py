"""Sums, norms and softmax."""
