"""``torch.backends.openmp``: fastnn brings threads of its own."""


def is_available() -> bool:
    """Whether kernels run on OpenMP's threads: never."""
    return False
