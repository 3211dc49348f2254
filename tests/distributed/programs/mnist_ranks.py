"""Train on 12,000 images of MNIST, 96 a step, shared by all ranks; rank 0 prints the accuracy and the last loss."""

import fastnn as torch
from fastnn import nn
from fastnn.datasets import load_mnist
from fastnn.nn.parallel import DistributedDataParallel
from fastnn.utils.data import DataLoader, DistributedSampler, TensorDataset

dist = torch.distributed
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
data = load_mnist()


def tensors(images, labels):
    return torch.from_numpy(images.reshape(len(images), -1).astype("float32") / 255), torch.from_numpy(labels)


train = TensorDataset(*tensors(data.train_images[:12000], data.train_labels[:12000]))
x, y = tensors(data.test_images, data.test_labels)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
model = DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(model))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
sampler = DistributedSampler(train, seed=1)
for epoch in range(3):
    sampler.set_epoch(epoch)
    total = torch.zeros(1)
    for images, labels in DataLoader(train, batch_size=96 // size, sampler=sampler):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.detach()
    dist.all_reduce(total, dist.ReduceOp.AVG)
if rank == 0:
    model.eval()
    with torch.no_grad():
        accuracy = (model.module(x).argmax(1) == y).float().mean().item()
    print(f"{accuracy:.4f} {total.item() / 125:.5f}")
dist.barrier()
dist.destroy_process_group()
