"""Training loops: :func:`fastnn.fit` and the profiler of a step."""
