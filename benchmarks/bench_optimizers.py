"""Optimizer steps, by library."""

from benchmarks.suite import benchmarks_of

test_adam = benchmarks_of("adam")
test_adamw = benchmarks_of("adamw")
test_sgd_momentum = benchmarks_of("sgd_momentum")
test_rmsprop = benchmarks_of("rmsprop")
test_adagrad = benchmarks_of("adagrad")
