"""A network of two layers with its gradients worked out by hand: tensors only, no autograd."""

import numpy as np
import torch

rng = np.random.default_rng(1)
batch, n_in, hidden, n_out = 64, 100, 50, 10
x = torch.from_numpy(rng.standard_normal((batch, n_in))).float()
y = torch.from_numpy(rng.standard_normal((batch, n_out))).float()
w1 = torch.from_numpy(rng.standard_normal((n_in, hidden))).float()
w2 = torch.from_numpy(rng.standard_normal((hidden, n_out))).float()

learning_rate = 1e-6
for t in range(200):
    h = x.mm(w1)
    h_relu = h.clamp(min=0)
    y_pred = h_relu.mm(w2)
    loss = (y_pred - y).pow(2).sum().item()
    if t % 40 == 39:
        print(t, f"{loss:.0f}")

    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.t().mm(grad_y_pred)
    grad_h_relu = grad_y_pred.mm(w2.t())
    grad_h = grad_h_relu.clone()
    grad_h[h < 0] = 0
    grad_w1 = x.t().mm(grad_h)
    w1 -= learning_rate * grad_w1
    w2 -= learning_rate * grad_w2

print(w1.shape, w2.size(), w1.dtype)
print(w2[:2, :4])
