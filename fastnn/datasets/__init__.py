"""Data sets as NumPy arrays: MNIST comes with the package, and any folder of IDX files can replace it.

This package only reads files. It uses NumPy and the standard library, but no tensors, layers or kernels;
batching, scaling and shuffling are in `fastnn.utils.data`. The attribution and licence of the bundled files are in
`NOTICE.md`, next to them.
"""

from fastnn.datasets.idx import read_idx
from fastnn.datasets.mnist import ImageData, load_mnist

__all__ = ["ImageData", "load_mnist", "read_idx"]
