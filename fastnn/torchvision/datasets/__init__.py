"""Data sets of images, under the names of ``torchvision.datasets``."""

from fastnn.torchvision.datasets.fake import FakeData
from fastnn.torchvision.datasets.folder import DatasetFolder, ImageFolder
from fastnn.torchvision.datasets.mnist import EMNIST, KMNIST, MNIST, FashionMNIST
from fastnn.torchvision.datasets.vision import StandardTransform, VisionDataset

__all__ = [
    "EMNIST",
    "KMNIST",
    "MNIST",
    "DatasetFolder",
    "FakeData",
    "FashionMNIST",
    "ImageFolder",
    "StandardTransform",
    "VisionDataset",
]
