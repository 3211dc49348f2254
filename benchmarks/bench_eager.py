"""Batches from a data set of bytes, by library."""

from benchmarks.suite import benchmarks_of

test_gather = benchmarks_of("eager")
