"""BatchNorm, ReLU and Dropout, forward and backward, by library."""

from benchmarks.suite import benchmarks_of

test_batch_norm_relu_dropout = benchmarks_of("batch_norm_relu_dropout")
