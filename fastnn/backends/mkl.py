"""``torch.backends.mkl``: not available; the products are fastnn's own kernels."""


def is_available() -> bool:
    """False."""
    return False
