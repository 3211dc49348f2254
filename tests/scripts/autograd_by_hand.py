"""A polynomial fitted to a sine by autograd and an update written by hand."""

import math

import numpy as np
import torch

dtype = torch.float
device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
x = torch.linspace(-math.pi, math.pi, 2000, device=device, dtype=dtype)
y = torch.sin(x)

start = np.random.RandomState(3).randn(4)
a, b, c, d = (torch.tensor(value, device=device, dtype=dtype, requires_grad=True) for value in start)

learning_rate = 1e-6
for t in range(1000):
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = (y_pred - y).pow(2).sum()
    if t % 250 == 249:
        print(t, "%.3f" % loss.item())
    loss.backward()
    with torch.no_grad():
        a -= learning_rate * a.grad
        b -= learning_rate * b.grad
        c -= learning_rate * c.grad
        d -= learning_rate * d.grad
        a.grad = None
        b.grad.zero_()
        c.grad = None
        d.grad.zero_()

print(f"y = {a.item():.4f} + {b.item():.4f} x + {c.item():.4f} x^2 + {d.item():.4f} x^3")
print(a.requires_grad, a.is_leaf, loss.requires_grad, loss.is_leaf, y_pred.detach().requires_grad)
