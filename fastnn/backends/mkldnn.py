"""``torch.backends.mkldnn``: not available; its switch can be set and changes nothing."""

enabled = True


def is_available() -> bool:
    """False."""
    return False
