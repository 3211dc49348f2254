"""Three spirals told apart by a Module with two hidden layers."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

np.random.seed(0)
N, K = 100, 3
X = np.zeros((N * K, 2), dtype=np.float32)
y = np.zeros(N * K, dtype=np.int64)
for k in range(K):
    r = np.linspace(0.0, 1, N)
    t = np.linspace(k * 4, (k + 1) * 4, N) + np.random.randn(N) * 0.2
    X[N * k : N * (k + 1)] = np.c_[r * np.sin(t), r * np.cos(t)]
    y[N * k : N * (k + 1)] = k


class Net(nn.Module):
    def __init__(self, n_hidden):
        super().__init__()
        self.fc1 = nn.Linear(2, n_hidden)
        self.fc2 = nn.Linear(n_hidden, n_hidden)
        self.out = nn.Linear(n_hidden, K)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = torch.tanh(self.fc2(x))
        return self.out(x)


net = Net(32)
print(net)
for p in net.parameters():
    p.data = torch.tensor(np.random.uniform(-0.3, 0.3, p.shape), dtype=torch.float32)

inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
for epoch in range(150):
    optimizer.zero_grad()
    outputs = net(inputs)
    loss = criterion(outputs, labels)
    loss.backward()
    optimizer.step()
    if (epoch + 1) % 30 == 0:
        _, predicted = torch.max(outputs.data, 1)
        correct = (predicted == labels).sum().item()
        print(f"Epoch [{epoch + 1}/{150}], Loss: {loss.item():.3f}, Accuracy: {100 * correct / len(y):.1f}%")

with torch.no_grad():
    probabilities = F.softmax(net(torch.Tensor([[0.0, 0.0], [0.5, -0.5]])), dim=1)
print(probabilities.sum(dim=1), probabilities.argmax(1).tolist())
