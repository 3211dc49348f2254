"""A physics-informed network of the heat equation: residual, start and walls in one loss."""

import os
from collections import OrderedDict

import numpy as np
import torch

STEPS = int(os.environ.get("STEPS", 40)) // 2
rng = np.random.default_rng(131)


class DNN(torch.nn.Module):
    def __init__(self, layers):
        super(DNN, self).__init__()
        self.depth = len(layers) - 1
        layer_list = list()
        for i in range(self.depth - 1):
            layer_list.append(("layer_%d" % i, torch.nn.Linear(layers[i], layers[i + 1])))
            layer_list.append(("activation_%d" % i, torch.nn.Tanh()))
        layer_list.append(("layer_%d" % (self.depth - 1), torch.nn.Linear(layers[-2], layers[-1])))
        self.layers = torch.nn.Sequential(OrderedDict(layer_list))

    def forward(self, x):
        return self.layers(x)


class PhysicsInformedNN:
    def __init__(self, layers, diffusivity):
        self.diffusivity = torch.tensor(diffusivity)
        self.dnn = DNN(layers)
        for p in self.dnn.parameters():
            p.data.copy_(torch.from_numpy(rng.normal(0, p.shape[-1] ** -0.5, p.shape)))
        self.x_f = torch.tensor(rng.uniform(0, 1, (200, 1)), requires_grad=True).float()
        self.t_f = torch.tensor(rng.uniform(0, 1, (200, 1)), requires_grad=True).float()
        x = torch.linspace(0, 1, 50).view(-1, 1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        self.x_u, self.t_u = torch.cat([x, zero, one]), torch.cat([zero, x, x])
        self.u = torch.cat([torch.sin(np.pi * x), zero, zero])
        self.optimizer = torch.optim.Adam(self.dnn.parameters(), lr=2e-3)

    def net_u(self, x, t):
        return self.dnn(torch.cat([x, t], dim=1))

    def net_f(self, x, t):
        u = self.net_u(x, t)
        u_t = torch.autograd.grad(u, t, grad_outputs=torch.ones_like(u), retain_graph=True, create_graph=True)[0]
        u_x = torch.autograd.grad(u, x, grad_outputs=torch.ones_like(u), retain_graph=True, create_graph=True)[0]
        u_xx = torch.autograd.grad(u_x, x, grad_outputs=torch.ones_like(u_x), retain_graph=True, create_graph=True)[0]
        return u_t - self.diffusivity * u_xx

    def train(self, nIter):
        self.dnn.train()
        for it in range(nIter):
            loss_u = torch.mean((self.u - self.net_u(self.x_u, self.t_u)) ** 2)
            loss_f = torch.mean(self.net_f(self.x_f, self.t_f) ** 2)
            loss = loss_u + loss_f
            self.optimizer.zero_grad()
            loss.backward(retain_graph=True)
            self.optimizer.step()
            if it % 5 == 4:
                print("Iter %d, Loss: %.4e, Loss_u: %.4e, Loss_f: %.4e" % (it + 1, loss.item(), loss_u.item(), loss_f.item()))


model = PhysicsInformedNN([2, 32, 32, 32, 1], 0.1)
model.train(STEPS)
