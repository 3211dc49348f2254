"""Sequences of different lengths in a Dataset of one's own, padded by a collate function."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, SequentialSampler, Subset


class Sequences(Dataset):
    """Numbers whose mean is to be found."""

    def __init__(self, count, seed, transform=None):
        rng = np.random.default_rng(seed)
        self.items = [rng.normal(rng.normal(), 1, rng.integers(2, 9)).astype(np.float32) for _ in range(count)]
        self.transform = transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        item = self.items[i]
        sample = {"values": torch.from_numpy(item), "mean": float(item.mean()), "name": f"item {i}"}
        return self.transform(sample) if self.transform else sample


def collate(batch):
    lengths = torch.tensor([len(sample["values"]) for sample in batch])
    padded = torch.zeros(len(batch), 8)
    for row, sample in zip(padded, batch):
        row[: len(sample["values"])] = sample["values"]
    mask = (torch.arange(8)[None, :] < lengths[:, None]).float()
    return torch.cat([padded, mask], dim=1), torch.tensor([sample["mean"] for sample in batch]), lengths


def halve(sample):
    sample["values"] = sample["values"] / 2
    sample["mean"] /= 2
    return sample


data = ConcatDataset([Sequences(90, seed=1), Sequences(60, seed=2, transform=halve)])
train, test = Subset(data, range(120)), Subset(data, range(120, 150))
loader = DataLoader(train, batch_size=16, collate_fn=collate)
print(len(data), len(train), len(test), len(loader), loader.batch_size)
plain = DataLoader(Sequences(6, seed=3), batch_sampler=BatchSampler(SequentialSampler(range(6)), 3, drop_last=False),
                   collate_fn=lambda batch: [sample["name"] for sample in batch])
print(list(plain))
for batch in DataLoader([{"a": i, "b": (i * 0.5, str(i))} for i in range(4)], batch_size=2):
    print(batch)

model = nn.Sequential(nn.Linear(16, 24), nn.Softplus(), nn.Linear(24, 1))
rng = np.random.default_rng(4)
for parameter in model.parameters():
    parameter.data = torch.from_numpy(rng.uniform(-0.25, 0.25, parameter.shape).astype("f"))
optimizer = torch.optim.Adamax(model.parameters(), lr=0.02)
for epoch in range(12):
    for inputs, means, lengths in loader:
        loss = nn.functional.smooth_l1_loss(model(inputs).flatten(), means)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 4 == 3:
        print(epoch, f"{loss:.4f}", lengths[:5].tolist())

with torch.no_grad():
    [(inputs, means, _)] = DataLoader(test, batch_size=len(test), collate_fn=collate)
    print(f"test {(model(inputs).squeeze(-1) - means).abs().mean():.3f}")
