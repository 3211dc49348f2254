"""Whole epochs over rows in memory, by library: batches are gathered by the library."""

from benchmarks.suite import benchmarks_of

test_epoch = benchmarks_of("epoch", ("fastnn", "torch", "jax"))
