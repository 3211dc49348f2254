"""A table of customers in pandas: dummies, scaling, a Dataset of rows, a classifier."""

import numpy as np
import pandas as pd
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

rng = np.random.default_rng(2024)
df = pd.DataFrame(
    {
        "age": rng.integers(18, 80, 400),
        "income": rng.lognormal(10, 0.5, 400).round(2),
        "city": rng.choice(["Bergen", "Oslo", "Turku"], 400),
        "visits": rng.poisson(3, 400),
    }
)
df.loc[rng.choice(400, 20, replace=False), "income"] = np.nan
df["bought"] = ((df["age"] < 40) & (df["visits"] > 2) | (df["city"] == "Oslo") & (df["visits"] > 4)).astype(int)

df["income"] = df["income"].fillna(df["income"].median())
features = pd.get_dummies(df.drop(columns="bought"), columns=["city"], dtype=float)
for column in ["age", "income", "visits"]:
    features[column] = (features[column] - features[column].mean()) / features[column].std()
train, test = features.iloc[:320], features.iloc[320:]
train_y, test_y = df["bought"][:320], df["bought"][320:]


class Table(Dataset):
    def __init__(self, x: pd.DataFrame, y: pd.Series):
        self.x = torch.tensor(x.values, dtype=torch.float32)
        self.y = torch.tensor(y.to_numpy().astype(np.float32)).unsqueeze(1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Classifier(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x)


model = Classifier(features.shape[1])
with torch.no_grad():
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            layer.weight.copy_(torch.tensor(rng.normal(0, 0.4, layer.weight.shape)))
            layer.bias.zero_()
loader = DataLoader(Table(train, train_y), batch_size=32)
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)

for epoch in range(1, 11):
    model.train()
    running = 0.0
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
        running += loss.item() * xb.size(0)
    if epoch % 5 == 0:
        model.eval()
        with torch.no_grad():
            predicted = torch.sigmoid(model(Table(test, test_y).x)).round().squeeze(1)
        accuracy = (predicted.numpy() == test_y.to_numpy()).mean()
        print(f"epoch {epoch:2d} | loss {running / 320:.3f} | accuracy {accuracy:.3f}")

result = pd.DataFrame({"bought": test_y.to_numpy(), "predicted": predicted.int().numpy()})
print(pd.crosstab(result["bought"], result["predicted"]))
