"""``torch.backends.openmp``: whether kernels run on OpenMP's threads. May import ``fastnn.kernels``."""

from fastnn.kernels.jit import threading_layer


def is_available() -> bool:
    """Whether the threads are OpenMP's."""
    return threading_layer() == "omp"
