"""Optimizer steps, by library."""

from benchmarks.suite import benchmarks_of

test_adam = benchmarks_of("adam")
test_adamw = benchmarks_of("adamw")
test_sgd_momentum = benchmarks_of("sgd_momentum")
test_rmsprop = benchmarks_of("rmsprop")
test_adagrad = benchmarks_of("adagrad")
test_sgd = benchmarks_of("sgd")
test_adamax = benchmarks_of("adamax")
test_nadam = benchmarks_of("nadam")
test_radam = benchmarks_of("radam")
test_adadelta = benchmarks_of("adadelta")
test_rprop = benchmarks_of("rprop")
test_asgd = benchmarks_of("asgd")
test_lbfgs = benchmarks_of("lbfgs")
