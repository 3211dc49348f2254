"""Single operations at three sizes, by library."""

from benchmarks.suite import benchmarks_of

test_eager = benchmarks_of("eager")
