"""``torch.backends.mkldnn``: not available; its switch can be set and has no effect."""

enabled = True


def is_available() -> bool:
    """False."""
    return False
