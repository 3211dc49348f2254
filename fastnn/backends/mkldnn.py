"""``torch.backends.mkldnn``: not available; its switches can be set.

``matmul.fp32_precision`` is the precision that products of float32 may have, as ``set_float32_matmul_precision`` sets
it: "ieee", "tf32", "bf16", or "none" for nothing said.
"""

from fastnn._core.settings import get_fp32_precision, set_fp32_precision

enabled = True


class _Matmul:
    """The switches of products."""

    @property
    def fp32_precision(self) -> str:
        """What products of float32 may be; they are float32 (see ``torch.set_float32_matmul_precision``)."""
        return get_fp32_precision()

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        set_fp32_precision(precision)


matmul = _Matmul()


def is_available() -> bool:
    """False."""
    return False
