"""Linear regression in double precision: the normal equations, lstsq, and gradient descent to the same answer."""

import numpy as np
import torch

rng = np.random.RandomState(100)
X = torch.tensor(np.c_[np.ones(200), rng.randn(200, 3)])
true_theta = torch.DoubleTensor([[1.0], [-2.0], [0.5], [3.0]])
y = X @ true_theta + 0.1 * torch.tensor(rng.randn(200, 1))
print(X.dtype, X.shape, X.element_size(), (X.float() @ true_theta.float()).dtype, (X.float().mean() + X.mean()).dtype)

normal = torch.inverse(X.t() @ X) @ X.t() @ y
solved = torch.linalg.lstsq(X, y).solution
through_solve = torch.linalg.solve(X.T.matmul(X), X.T.matmul(y))
print(normal.squeeze(), torch.allclose(normal, solved), torch.allclose(normal, through_solve))

theta = torch.zeros(4, 1, dtype=torch.float64, requires_grad=True)
for _ in range(300):
    residual = X.mm(theta) - y
    loss = residual.pow(2).mean()
    loss.backward()
    with torch.no_grad():
        theta.sub_(0.1 * theta.grad)
    theta.grad.zero_()
print(f"{loss.item():.10f}", torch.allclose(theta, normal, rtol=1e-10))

layer = torch.nn.Linear(3, 1).to(torch.float64)
layer.load_state_dict({"weight": torch.zeros(1, 3).double(), "bias": torch.zeros(1).double()})
optimizer = torch.optim.Rprop(layer.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(layer(X[:, 1:]), y).backward()
    optimizer.step()
print(layer.weight.data, layer.bias.data)
try:
    layer(X[:, 1:].float())
except RuntimeError as error:
    print("RuntimeError", "dtype" in str(error))

total = (y - y.mean()).square().sum()
print(f"R2 {(1 - (X @ normal - y).square().sum() / total).item():.6f}", torch.corrcoef(torch.cat([X[:, 1:], y], 1).T)[0, 3] > 0)
with torch.no_grad():
    covariance = torch.linalg.inv(X.T @ X) * (X @ normal - y).var(unbiased=True)
print(torch.linalg.eigvalsh(covariance).mul(1e5), torch.linalg.norm(covariance, ord="fro").item() < 1e-3)
