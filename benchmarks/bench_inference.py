"""Inference, by library."""

from benchmarks.suite import benchmarks_of

test_inference = benchmarks_of("inference")
test_inference_int8 = benchmarks_of("inference_int8")
