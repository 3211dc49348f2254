"""Distillation: a small network learns from a large one.

    python examples/distillation.py

A teacher, 784-800-800-10 with dropout, is trained on MNIST. Two students, 784-24-10 with the same first weights, are
trained for the same number of steps: one on the labels, the other also on the teacher's probabilities at a higher
temperature (G. Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
"""

import argparse
import copy
import time

import fastnn as torch
from fastnn import nn, optim
from fastnn.nn import functional as F
from fastnn.torchvision import datasets, transforms
from fastnn.utils.data import DataLoader, Subset

TEMPERATURE, SHARE = 4.0, 0.9


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The divergence from the teacher's softened probabilities, and the usual loss of the labels."""
    soft = F.kl_div(
        F.log_softmax(logits / TEMPERATURE, dim=1), F.log_softmax(teacher / TEMPERATURE, dim=1), reduction="batchmean",
        log_target=True,
    )  # fmt: skip
    return SHARE * TEMPERATURE**2 * soft + (1 - SHARE) * F.cross_entropy(logits, labels)


def train(model: nn.Module, loader: DataLoader, epochs: int, lr: float, teacher: nn.Module | None = None) -> nn.Module:
    optimizer = optim.AdamW(model.parameters(), lr=lr)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    model.train()
    for _ in range(epochs):
        for images, labels in loader:
            x = images.flatten(1)
            optimizer.zero_grad()
            if teacher is None:
                loss = F.cross_entropy(model(x), labels)
            else:
                with torch.no_grad():
                    target = teacher(x)
                loss = distillation_loss(model(x), target, labels)
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    right = sum((model(images.flatten(1)).argmax(1) == labels).sum().item() for images, labels in loader)
    return right / len(loader.dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8, help="passes over the training pictures (8)")
    parser.add_argument("--samples", type=int, default=60_000, help="training pictures to use (60000)")
    options = parser.parse_args()

    torch.manual_seed(0)
    scale = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    training = datasets.MNIST("data", train=True, download=True, transform=scale)
    test = datasets.MNIST("data", train=False, download=True, transform=scale)
    rows = Subset(training, range(min(options.samples, len(training))))
    train_loader = DataLoader(rows, batch_size=128, shuffle=True, drop_last=True)
    test_loader = DataLoader(test, batch_size=1000)

    teacher = nn.Sequential(
        nn.Dropout(0.2), nn.Linear(784, 800), nn.ReLU(), nn.Dropout(0.5), nn.Linear(800, 800), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(800, 10),
    )  # fmt: skip
    student = nn.Sequential(nn.Linear(784, 24), nn.ReLU(), nn.Linear(24, 10))
    twin = copy.deepcopy(student)
    for name, model, lr, guide in (
        ("teacher", teacher, 1e-3, None),
        ("student on labels", student, 3e-3, None),
        ("student of the teacher", twin, 3e-3, teacher),
    ):
        start = time.perf_counter()
        train(model, train_loader, options.epochs, lr, guide)
        seconds = time.perf_counter() - start
        count = sum(p.numel() for p in model.parameters())
        print(f"{name}: {count:,} parameters, test accuracy {accuracy(model, test_loader):.2%}, {seconds:.1f} s")


if __name__ == "__main__":
    main()
