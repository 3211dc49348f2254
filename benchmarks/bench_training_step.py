"""Whole training steps, by library, and fastnn's captured step compared with its plain loop."""

from benchmarks.suite import LIBRARIES, benchmarks_of

test_training_step = benchmarks_of("training_step", ("fastnn", "fastnn_step", *LIBRARIES[1:]))
