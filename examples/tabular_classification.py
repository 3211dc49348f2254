"""Tabular classification: breast cancer, 569 rows of 30 measurements, from scikit-learn. Five-fold cross-validation.

    python examples/tabular_classification.py

Columns are standardized with the mean and deviation of the training rows, and of no others. A fifth of the training
rows is held out: training stops when its loss has not improved for 20 epochs, and the best weights are kept.

Measured: accuracy 97.9%, area under the ROC curve 0.994 (logistic regression: 97.9%); 4 s of CPU time with one
thread of an AMD EPYC (Zen 5), imports included.
"""

import argparse
import copy

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler

import fastnn as torch
from fastnn import nn, optim
from fastnn.utils.data import DataLoader, TensorDataset


def train(x: torch.Tensor, y: torch.Tensor, held_x: torch.Tensor, held_y: torch.Tensor, epochs: int) -> nn.Module:
    """The model whose loss on the held-out rows is the smallest."""
    model = nn.Sequential(
        nn.Linear(x.shape[1], 64), nn.BatchNorm1d(64), nn.SiLU(), nn.Dropout(0.3), nn.Linear(64, 32), nn.SiLU(),
        nn.Dropout(0.3), nn.Linear(32, 1), nn.Flatten(0),
    )  # fmt: skip
    criterion = nn.BCEWithLogitsLoss()
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, drop_last=True)
    best, best_epoch, best_weights = float("inf"), 0, {}
    for epoch in range(epochs):
        model.train()
        for rows, labels in loader:
            optimizer.zero_grad()
            criterion(model(rows), labels).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = criterion(model(held_x), held_y).item()
        if loss < best:
            best, best_epoch, best_weights = loss, epoch, copy.deepcopy(model.state_dict())
        elif epoch - best_epoch >= 20:
            break
    model.load_state_dict(best_weights)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200, help="passes over the training rows at most (200)")
    parser.add_argument("--folds", type=int, default=5, help="parts of the rows; each is the test once (5)")
    options = parser.parse_args()

    torch.manual_seed(0)
    features, labels = load_breast_cancer(return_X_y=True)
    scores = []
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=0)
    for fold, (rows, test) in enumerate(folds.split(features, labels), 1):
        scaler = StandardScaler().fit(features[rows])
        x = torch.from_numpy(scaler.transform(features).astype(np.float32))
        y = torch.from_numpy(labels.astype(np.float32))
        kept, held = train_test_split(rows, test_size=0.2, stratify=labels[rows], random_state=0)
        model = train(x[kept], y[kept], x[held], y[held], options.epochs)
        with torch.no_grad():
            logits = model(x[test]).numpy()
        line = LogisticRegression().fit(scaler.transform(features[rows]), labels[rows])
        accuracy = ((logits > 0) == labels[test]).mean()
        scores.append((accuracy, roc_auc_score(labels[test], logits), line.score(x[test].numpy(), labels[test])))
        print(f"fold {fold}: accuracy {accuracy:.2%}, area under the ROC curve {scores[-1][1]:.4f}")
    accuracy, area, logistic = np.mean(scores, axis=0)
    print(f"mean: accuracy {accuracy:.2%}, area {area:.4f}; logistic regression: accuracy {logistic:.2%}")


if __name__ == "__main__":
    main()
