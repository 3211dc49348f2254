"""What goes through a network, seen by hooks: activations, gradients, a gradient changed on its way."""

import numpy as np
import torch
import torch.nn as nn

rng = np.random.default_rng(66)
model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
for name, module in model.named_children():
    if isinstance(module, nn.Linear):
        module.weight.data = torch.from_numpy(rng.normal(0, 0.5, module.weight.shape)).float()
        module.bias.data = torch.from_numpy(rng.normal(0, 0.1, module.bias.shape)).float()

activations, gradients, order = {}, {}, []


def get_activation(name):
    def hook(module, input, output):
        activations[name] = output.detach()
        order.append(name)

    return hook


def backward_hook(module, grad_input, grad_output):
    gradients[module.__class__.__name__] = (tuple(grad_input[0].shape), round(grad_output[0].norm().item(), 4))


handles = [module.register_forward_hook(get_activation(f"{i} {type(module).__name__}")) for i, module in enumerate(model)]
handles.append(model[1].register_full_backward_hook(backward_hook))
handles.append(model[3].register_full_backward_hook(backward_hook))
handles.append(model.register_forward_pre_hook(lambda module, args: (args[0] * 2,)))

x = torch.from_numpy(rng.standard_normal((7, 5))).float().requires_grad_()
hidden = model[0](x)
hidden.retain_grad()
clipped = hidden.register_hook(lambda grad: grad.clamp(-0.01, 0.01))
out = model[1:](hidden)
out.sum().backward()
print("retained", tuple(hidden.grad.shape), f"{hidden.grad.abs().max().item():.4f}", f"{x.grad.norm().item():.4f}")
clipped.remove()
print(order)
order.clear()

model.zero_grad()
x.grad = None
model(x).pow(2).mean().backward()
for name, value in activations.items():
    print(f"{name:8s} mean {value.mean().item():+.4f} std {value.std().item():.4f} zero {(value == 0).float().mean().item():.2f}")
print(gradients)

for handle in handles:
    handle.remove()
order.clear()
model(x)
print(order, [len(m._forward_hooks) for m in model])
seen = []
model[2].weight.register_hook(lambda g: seen.append(g.shape))
model(x).sum().backward()
print(seen, model[0].weight.grad_fn, model(x).tanh().grad_fn.name())
