"""Functions with a backward pass of their own: an exponential, a rounding that lets gradients through, a fused loss."""

import numpy as np
import torch
import torch.nn as nn
from torch.autograd import Function, gradcheck


class Exp(Function):
    @staticmethod
    def forward(ctx, i):
        result = i.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad_output):
        (result,) = ctx.saved_tensors
        return grad_output * result


class RoundSTE(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return torch.round(x * scale) / scale

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output, None


class SquaredHinge(Function):
    @staticmethod
    def forward(ctx, scores, sign):
        margin = (1 - scores * sign).clamp(min=0)
        ctx.save_for_backward(margin, sign)
        ctx.mark_non_differentiable(sign)
        return margin.square().mean()

    @staticmethod
    def backward(ctx, grad_output):
        margin, sign = ctx.saved_tensors
        return grad_output * -2 * margin * sign / margin.numel(), None


rng = np.random.default_rng(6)
x = torch.tensor(rng.standard_normal((3, 2)), requires_grad=True)
print(gradcheck(Exp.apply, (x,)), gradcheck(lambda t: SquaredHinge.apply(t, torch.ones_like(t)), (x,)))
Exp.apply(x).sum().backward()
print(torch.allclose(x.grad, x.exp()))


class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 6)
        self.outer = nn.Linear(6, 1)

    def forward(self, x):
        hidden = RoundSTE.apply(torch.tanh(self.inner(x)), 64.0)
        return self.outer(hidden).squeeze(1)


model = Quantised().double()
for parameter in model.parameters():
    parameter.data = torch.from_numpy(rng.standard_normal(parameter.shape))
points = torch.from_numpy(rng.uniform(-1, 1, (120, 2)))
sign = torch.where(points[:, 0] * points[:, 1] > 0, 1.0, -1.0).double()
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
for step in range(101):
    scores = model(points)
    loss = SquaredHinge.apply(scores, sign)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(step, f"{loss.item():.4f}", f"{(scores.sign() == sign).double().mean():.3f}", loss.grad_fn.name())
