"""Linear layer with bias and ReLU, forward and backward, by library."""

from benchmarks.suite import benchmarks_of

test_linear_forward = benchmarks_of("linear_forward")
test_linear_backward = benchmarks_of("linear_backward")
