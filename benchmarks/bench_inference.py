"""Inference, by library."""

from benchmarks.suite import benchmarks_of

test_inference = benchmarks_of("inference")
