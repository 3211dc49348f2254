"""fastnn.classic compared with a textbook's NumPy: an epoch of its network, and its functions."""

from benchmarks.suite import benchmarks_of

test_classic_train = benchmarks_of("classic_train")
test_classic_train_single = benchmarks_of("classic_train_single")
test_classic_functions = benchmarks_of("classic_functions")
