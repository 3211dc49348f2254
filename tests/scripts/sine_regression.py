"""Regression of a noisy curve: Sequential, MSELoss, Adam, mini-batches by randperm of NumPy."""

import numpy as np
import torch

torch.manual_seed(0)
np.random.seed(0)

x = torch.unsqueeze(torch.linspace(-1, 1, 200), dim=1)
y = x.pow(3) + 0.1 * torch.from_numpy(np.random.rand(200, 1).astype("float32"))

net = torch.nn.Sequential(
    torch.nn.Linear(1, 20),
    torch.nn.LeakyReLU(),
    torch.nn.Linear(20, 10),
    torch.nn.ReLU(inplace=True),
    torch.nn.Linear(10, 1),
)
state = {}
for name, value in net.state_dict().items():
    fan = value.shape[-1]
    state[name] = torch.as_tensor(np.random.uniform(-1, 1, tuple(value.shape)) / fan**0.5, dtype=value.dtype)
print(net.load_state_dict(state))

optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
loss_func = torch.nn.MSELoss()
losses = []
for epoch in range(30):
    permutation = np.random.permutation(len(x))
    for i in range(0, len(x), 64):
        indices = permutation[i : i + 64]
        batch_x, batch_y = x[indices], y[indices]
        prediction = net(batch_x)
        loss = loss_func(prediction, batch_y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

print(len(losses), f"{np.mean(losses[:4]):.4f} {np.mean(losses[-4:]):.4f}")
net.eval()
with torch.no_grad():
    test = net(torch.tensor([[-0.5], [0.0], [0.5]]))
print(test.squeeze(), test.mean(), test.std())
print(sum(p.numel() for p in net.parameters()), "parameters")
