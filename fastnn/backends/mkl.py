"""``torch.backends.mkl``: not available; fastnn's own kernels compute matrix products."""


def is_available() -> bool:
    """False."""
    return False
