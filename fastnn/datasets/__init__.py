"""Data sets as NumPy arrays: MNIST comes with the package, any folder of IDX files can take its place.

This room reads files and nothing else. It calls NumPy and the standard library, no tensor, no layer and no kernel;
batching, scaling and shuffling live in `fastnn.utils.data`. The attribution and licence of the bundled files are in
`NOTICE.md`, beside them.
"""

from fastnn.datasets.idx import read_idx
from fastnn.datasets.mnist import ImageData, load_mnist

__all__ = ["ImageData", "load_mnist", "read_idx"]
