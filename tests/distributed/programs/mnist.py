"""Train on MNIST with 96 samples a step, shared by all ranks; rank 0 prints the error of the last step and accuracy."""

import fastnn as torch
from fastnn import nn
from fastnn.datasets import mnist
from fastnn.nn.parallel import DistributedDataParallel
from fastnn.utils.data import DataLoader, DistributedSampler, TensorDataset

dist = torch.distributed
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
(x, y), (test_x, test_y) = ((torch.tensor(a), torch.tensor(b)) for a, b in mnist_arrays()) if False else (None, None)
