"""Tabular regression with error bars: diabetes, 442 rows of ten measurements, from scikit-learn.

    python examples/tabular_regression.py

The network has two outputs for each row, the mean and the variance of the target, and is trained on the Gaussian
negative log-likelihood. Five networks with other first weights make an ensemble: the mean of the means, and the
variance of the mixture (B. Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using
Deep Ensembles", 2017). The figures are means of five-fold cross-validation.

Measured: R2 0.504 (ridge regression: 0.488), and 89% of the targets in the 90% intervals; 6 s of CPU time with one
thread of an AMD EPYC (Zen 5).
"""

import argparse

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

import fastnn as torch
from fastnn import nn, optim
from fastnn.nn import functional as F
from fastnn.utils.data import DataLoader, TensorDataset


class MeanAndVariance(nn.Module):
    """A body with two heads."""

    def __init__(self, inputs: int, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(width, width), nn.SiLU()
        )
        self.mean = nn.Linear(width, 1)
        self.variance = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.body(x)
        return self.mean(h).flatten(), F.softplus(self.variance(h)).flatten() + 1e-3


def train(x: torch.Tensor, y: torch.Tensor, epochs: int) -> MeanAndVariance:
    model = MeanAndVariance(x.shape[1])
    criterion = nn.GaussianNLLLoss()
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, drop_last=True)
    for _ in range(epochs):
        for rows, targets in loader:
            optimizer.zero_grad()
            mean, variance = model(rows)
            criterion(mean, targets, variance).backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training rows (40)")
    parser.add_argument("--members", type=int, default=5, help="networks in the ensemble (5)")
    options = parser.parse_args()

    torch.manual_seed(0)
    features, targets = load_diabetes(return_X_y=True)
    scores = []
    for fold, (rows, test) in enumerate(KFold(5, shuffle=True, random_state=0).split(features), 1):
        scale_x = StandardScaler().fit(features[rows])
        scale_y = StandardScaler().fit(targets[rows, None])
        x = torch.from_numpy(scale_x.transform(features).astype(np.float32))
        y = torch.from_numpy(scale_y.transform(targets[:, None]).astype(np.float32)).flatten()
        models = [train(x[rows], y[rows], options.epochs) for _ in range(options.members)]
        with torch.no_grad():
            means, variances = map(torch.stack, zip(*(model(x[test]) for model in models), strict=True))
        mean = means.mean(0)
        deviation = (variances + means.square()).mean(0).sub(mean.square()).sqrt()

        error = y[test] - mean
        spread = y[test].var(correction=0).item()
        ridge = RidgeCV(np.logspace(-2, 3, 20)).fit(x[rows].numpy(), y[rows].numpy())
        scores.append(
            (
                1 - error.square().mean().item() / spread,
                ridge.score(x[test].numpy(), y[test].numpy()),
                (error.abs() < 1.645 * deviation).float().mean().item(),
            )
        )
        print(f"fold {fold}: R2 {scores[-1][0]:.3f}, {scores[-1][2]:.1%} of the targets are in the 90% intervals")
    fit, linear, covered = np.mean(scores, axis=0)
    print(f"mean: R2 {fit:.3f}, ridge regression {linear:.3f}; {covered:.1%} are in the 90% intervals")


if __name__ == "__main__":
    main()
