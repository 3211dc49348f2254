"""A denoising autoencoder of MNIST: 784 pixels through 16 numbers and back, beside PCA with 16 components.

    python examples/autoencoder.py [--picture digits.png]

The network sees pictures with a quarter of the pixels erased and is trained to give the whole pictures. The picture
has a row of test digits, a row of what was left of them, and a row of what the network made of that.

Measured: mean squared error of the test pictures 0.018 (PCA: 0.027), and 0.015 from erased ones; 30 s of CPU time with
one thread of an AMD EPYC (Zen 5).
"""

import argparse

import fastnn as torch
from fastnn import nn, optim
from fastnn.nn import functional as F
from fastnn.torchvision import datasets, transforms
from fastnn.torchvision.utils import save_image
from fastnn.utils.data import DataLoader, Subset

CODE = 16


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, CODE))
        self.decoder = nn.Sequential(
            nn.Linear(CODE, 64), nn.ReLU(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(x))


def erase(x: torch.Tensor) -> torch.Tensor:
    """The pictures with a quarter of their pixels at zero."""
    return x * (torch.rand_like(x) > 0.25)


def pca_error(training: torch.Tensor, test: torch.Tensor) -> float:
    """The mean squared error of the test pictures after a projection on the principal components."""
    mean = training.mean(0)
    centred = training - mean
    _, directions = torch.linalg.eigh(centred.T @ centred)
    main = directions[:, -CODE:]
    return F.mse_loss((test - mean) @ main @ main.T + mean, test).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training pictures (10)")
    parser.add_argument("--samples", type=int, default=60_000, help="training pictures to use (60000)")
    parser.add_argument("--picture", metavar="FILE", help="write a picture of test digits")
    options = parser.parse_args()

    torch.manual_seed(0)
    training = datasets.MNIST("data", train=True, download=True, transform=transforms.ToTensor())
    test = datasets.MNIST("data", train=False, download=True)
    rows = Subset(training, range(min(options.samples, len(training))))
    loader = DataLoader(rows, batch_size=128, shuffle=True, drop_last=True)
    whole = test.data.flatten(1).float() / 255

    model = Autoencoder()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(loader))
    for epoch in range(1, options.epochs + 1):
        total = 0.0
        for images, _ in loader:
            x = images.flatten(1)
            optimizer.zero_grad()
            loss = F.mse_loss(model(erase(x)), x)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch}: mean squared error {total / len(loader):.5f}")

    pixels = training.data[: options.samples].flatten(1).float() / 255
    partial = erase(whole)
    with torch.no_grad():
        clean, denoised = F.mse_loss(model(whole), whole).item(), F.mse_loss(model(partial), whole).item()
        if options.picture:
            images = torch.cat([whole[:12], partial[:12], model(partial[:12])])
            save_image(images.view(-1, 1, 28, 28), options.picture, nrow=12)
    print(f"test: {clean:.5f} from whole pictures, {denoised:.5f} from erased ones")
    print(f"PCA with {CODE} components: {pca_error(pixels, whole):.5f} from whole pictures")


if __name__ == "__main__":
    main()
