"""The part of torchvision that scripts with MNIST use: ``from fastnn import torchvision``.

Arrays and SciPy replace PIL; if PIL is installed, images are PIL's.
"""

from fastnn import __version__
from fastnn.torchvision import datasets, transforms, utils

__all__ = ["__version__", "datasets", "transforms", "utils"]
