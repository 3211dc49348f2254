"""The same kind of network with PyTorch's API: batch normalisation, dropout, Adam, data loaders.

    python examples/tutorial/7_pytorch.py [--samples N] [--epochs N]

Only the import lines are specific to fastnn: with `import torch` and `import torchvision` instead,
this is a PyTorch program.
"""

import argparse

import fastnn as torch
from fastnn import nn, optim
from fastnn.torchvision import datasets, transforms
from fastnn.utils.data import DataLoader, Subset

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--samples", type=int, default=60_000, help="training images to use (60000)")
parser.add_argument("--epochs", type=int, default=3, help="passes over them (3)")
parser.add_argument("--data", default="data", help="folder of MNIST for PyTorch; fastnn has the images with it")
options = parser.parse_args()


class DigitReader(nn.Module):
    """Blocks of linear layer, batch normalisation, ReLU and dropout, followed by a linear layer."""

    def __init__(self, inputs: int, hidden: list[int], classes: int, drop: float = 0.3) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for width in hidden:
            blocks += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(drop)]
            inputs = width
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images.flatten(1)))


def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """The share of images whose largest logit is the correct digit's."""
    model.eval()
    right = seen = 0
    with torch.no_grad():
        for images, labels in loader:
            _, guesses = torch.max(model(images), 1)
            right += (guesses == labels).sum().item()
            seen += labels.size(0)
    return right / seen


def main() -> None:
    torch.manual_seed(0)
    scale = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    training = datasets.MNIST(options.data, train=True, download=True, transform=scale)
    test = datasets.MNIST(options.data, train=False, download=True, transform=scale)
    if options.samples < len(training):
        training = Subset(training, range(options.samples))
    train_loader = DataLoader(training, batch_size=64, shuffle=True)
    test_loader = DataLoader(test, batch_size=1000)

    model = DigitReader(784, [256, 128, 64], 10)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, options.epochs + 1):
        model.train()
        total = 0.0
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * labels.size(0)
        print(f"epoch {epoch}: loss {total / len(training):.4f}, accuracy {accuracy(model, test_loader):.2%}")


if __name__ == "__main__":
    main()
