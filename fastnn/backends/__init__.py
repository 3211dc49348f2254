"""``torch.backends``: libraries that fastnn does not use; each reports that it is not available."""

from fastnn.backends import cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]
