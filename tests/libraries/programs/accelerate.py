"""An MLP on the digits with accelerate: accumulated gradients, a schedule, clipping, mixed precision, saved and resumed."""

import os

import numpy as np
import torch
from accelerate import Accelerator, DistributedType, init_empty_weights, load_checkpoint_and_dispatch
from accelerate.utils import (
    DataLoaderConfiguration, GradientAccumulationPlugin, LoggerType, ProjectConfiguration, find_executable_batch_size,
    gather_object, set_seed, tqdm,
)
from harness import digits, initialize, probe, timed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

x, y, x_test, y_test = (torch.from_numpy(part) for part in digits())


def make():
    return initialize(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.LayerNorm(64), nn.Linear(64, 10)))


set_seed(0)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2, project_config=ProjectConfiguration(
    project_dir="run", automatic_checkpoint_naming=True, total_limit=2), dataloader_config=DataLoaderConfiguration(split_batches=False))
probe("device", str(accelerator.device))
probe("processes", accelerator.num_processes, 0)
probe("distributed", str(accelerator.distributed_type == DistributedType.NO))
model = make()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
train = DataLoader(TensorDataset(x, y), batch_size=50)
test = DataLoader(TensorDataset(x_test, y_test), batch_size=100)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=15 * 6)
model, optimizer, train, test, schedule = accelerator.prepare(model, optimizer, train, test, schedule)
accelerator.register_for_checkpointing(schedule)
loss_of = nn.CrossEntropyLoss()


def epoch_of(model, optimizer, train, schedule=None):
    model.train()
    total = norm = 0.0
    for data, target in train:
        with accelerator.accumulate(model):
            loss = loss_of(model(data), target)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            optimizer.zero_grad()
        total += loss.detach().float()
    return total / len(train), norm


def accuracy(model):
    model.eval()
    right, seen = 0, 0
    for data, target in test:
        with torch.no_grad():
            found = model(data).argmax(dim=-1)
        found, target = accelerator.gather_for_metrics((found, target))
        right, seen = right + (found == target).sum().item(), seen + len(target)
    probe("seen", seen, 0)
    return right / seen


with timed():
    for epoch in range(4):
        loss, norm = epoch_of(model, optimizer, train, schedule)
        probe(f"loss_{epoch}", loss, 5e-3)
        probe(f"norm_{epoch}", norm, 5e-2)
        accelerator.save_state()
probe("lr", optimizer.param_groups[0]["lr"], 1e-6)
probe("accuracy", accuracy(model), 2e-2)
probe("checkpoints", "_".join(sorted(os.listdir("run/checkpoints"))))
probe("files", "_".join(sorted(os.listdir("run/checkpoints/checkpoint_3"))))

# On from a checkpoint, twice with the same result, and in the middle of an epoch.
ends = []
with timed():
    for _ in range(2):
        accelerator.load_state("run/checkpoints/checkpoint_3")
        loss, _ = epoch_of(model, optimizer, train)
        ends.append(float(loss))
probe("resumed", ends[0], 5e-3)
probe("same", ends[0] - ends[1], 0)
skipped = accelerator.skip_first_batches(train, 20)
probe("skipped", sum(1 for _ in skipped), 0)

# Saved as safetensors and by torch.save, read again.
plain = accelerator.unwrap_model(model)
accelerator.save_model(model, "safe")
accelerator.save(accelerator.get_state_dict(model), "state.pt")
other = make()
other.load_state_dict(torch.load("state.pt"))
probe("state", (other(x_test) - plain(x_test)).abs().max(), 0)
with init_empty_weights(include_buffers=False):
    pass
loaded = load_checkpoint_and_dispatch(make(), "safe/model.safetensors")
probe("safetensors", (loaded(x_test) - plain(x_test)).abs().max(), 0)

# No accumulation of its own, by hand; a loss and a value of gradients; a reduction.
accelerator.free_memory()
accelerator = Accelerator(cpu=True, gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=3, sync_with_dataloader=False), mixed_precision="no")
model, optimizer, train = accelerator.prepare(make(), torch.optim.SGD(make().parameters(), lr=0.1), DataLoader(TensorDataset(x, y), batch_size=100))
optimizer = accelerator.prepare(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
with timed():
    for _ in range(3):
        loss, _ = epoch_of(model, optimizer, train)
probe("sgd", loss, 1e-2)
with accelerator.no_sync(model):
    accelerator.backward(loss_of(model(x[:50]), y[:50]))
accelerator.clip_grad_value_(model.parameters(), 1e-3)
probe("clipped", max(p.grad.abs().max() for p in model.parameters()), 1e-6)
probe("reduced", accelerator.reduce(torch.tensor([2.0, 4.0]), "mean").sum(), 0)
probe("gathered", len(gather_object([1, 2])), 0)
padded = accelerator.pad_across_processes(torch.ones(3, 2), dim=0)
probe("padded", padded.sum(), 0)
with accelerator.autocast():
    model(x[:10])
accelerator.wait_for_everyone()
accelerator.print("main")
probe("main", str(accelerator.is_main_process and accelerator.is_local_main_process))


@find_executable_batch_size(starting_batch_size=64)
def try_batch(batch_size):
    if batch_size > 16:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    return batch_size


probe("batch", try_batch(), 0)
with accelerator.main_process_first():
    probe("trigger", str(accelerator.check_trigger()))
accelerator.set_trigger()
probe("triggered", str(accelerator.check_trigger()))
for _ in tqdm(range(3)):
    pass
accelerator.end_training()
