"""Softmax cross-entropy, forward and backward, by library."""

from benchmarks.suite import benchmarks_of

test_softmax_cross_entropy = benchmarks_of("softmax_cross_entropy")
