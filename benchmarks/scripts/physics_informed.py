"""A physics-informed network for u'' + 0.4 u' + 4 u = 0, u(0) = 1, u'(0) = 0: losses of derivatives."""

from benchmarks.scripts.harness import log, torch

nn = torch.nn
LOSSES = (0.155779, 0.148376, 0.141715)

net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
log.initialize(net)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
t_boundary = torch.tensor([[0.0]], requires_grad=True)
t_physics = torch.linspace(0, 1, 30).view(-1, 1).requires_grad_(True)

for _ in log.steps(800):
    optimizer.zero_grad()
    u = net(t_boundary)
    loss1 = (torch.squeeze(u) - 1) ** 2
    dudt = torch.autograd.grad(u, t_boundary, torch.ones_like(u), create_graph=True)[0]
    loss2 = (torch.squeeze(dudt) - 0) ** 2
    u = net(t_physics)
    dudt = torch.autograd.grad(u, t_physics, torch.ones_like(u), create_graph=True)[0]
    d2udt2 = torch.autograd.grad(dudt, t_physics, torch.ones_like(dudt), create_graph=True)[0]
    loss3 = torch.mean((d2udt2 + 0.4 * dudt + 4 * u) ** 2)
    loss = loss1 + 0.1 * loss2 + 1e-2 * loss3
    loss.backward()
    optimizer.step()
    log(loss)
