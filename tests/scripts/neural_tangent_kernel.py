"""The empirical neural tangent kernel by torch.func, and kernel regression beside gradient descent."""

import os

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(115)


class MLP(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.fc1 = nn.Linear(3, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, 1)

    def forward(self, x):
        x = torch.tanh(self.fc1(x))
        x = torch.tanh(self.fc2(x))
        return self.fc3(x)


net = MLP()
for p in net.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(0, p.shape[-1] ** -0.5, p.shape)))
params = {k: v.detach() for k, v in net.named_parameters()}


def fnet_single(params, x):
    return functional_call(net, params, (x.unsqueeze(0),)).squeeze(0)


def empirical_ntk(params, x1, x2):
    jac1 = vmap(jacrev(fnet_single), (None, 0))(params, x1)
    jac1 = [j.flatten(2) for j in jac1.values()]
    jac2 = vmap(jacrev(fnet_single), (None, 0))(params, x2)
    jac2 = [j.flatten(2) for j in jac2.values()]
    return torch.stack([torch.einsum("Naf,Mbf->NMab", a, b) for a, b in zip(jac1, jac2)]).sum(0)[:, :, 0, 0]


x_train = torch.from_numpy(rng.uniform(-1, 1, (40, 3)).astype(np.float32))
x_test = torch.from_numpy(rng.uniform(-1, 1, (20, 3)).astype(np.float32))
truth = lambda x: torch.sin(2 * x[:, :1]) + 0.5 * x[:, 1:2]
for _ in range(max(1, STEPS // 20)):
    K = empirical_ntk(params, x_train, x_train)
    K_test = empirical_ntk(params, x_test, x_train)
print("kernel", tuple(K.shape), tuple(K_test.shape), f"trace {K.trace():.3f}", "symmetric", torch.allclose(K, K.T, atol=1e-4))
residual = truth(x_train) - net(x_train).detach()
prediction = net(x_test).detach() + K_test @ torch.linalg.solve(K + 0.1 * torch.eye(40), residual)
print(f"kernel regression: test error {(prediction - truth(x_test)).pow(2).mean():.4f}")

optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
for step in range(STEPS):
    optimizer.zero_grad()
    loss = 0.5 * (net(x_train) - truth(x_train)).pow(2).mean()
    loss.backward()
    optimizer.step()
print(f"gradient descent: train loss {loss.item():.4f}, test error {(net(x_test) - truth(x_test)).pow(2).mean().item():.4f}")
