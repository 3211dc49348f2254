"""``torch.backends.openmp``: fastnn has its own threads."""


def is_available() -> bool:
    """False: kernels never run on OpenMP's threads."""
    return False
