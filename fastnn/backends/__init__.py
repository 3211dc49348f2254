"""``torch.backends``: libraries that fastnn does without; each says that it is not there."""

from fastnn.backends import cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
