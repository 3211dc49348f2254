"""Networks of DeepXDE: Poisson's and Burgers' equations, a system of ordinary ones, an inverse problem, an operator."""

import os

os.environ["DDE_BACKEND"] = "pytorch"

import deepxde as dde
import numpy as np
import torch
from harness import initialize, probe, timed

dde.config.set_random_seed(0)


def solve(name, model, iterations, tolerance=2e-2, **options):
    """Compile with Adam, train, and print losses."""
    initialize(model.net)
    model.compile("adam", lr=1e-3, **{k: options.pop(k) for k in list(options) if k not in ("callbacks", "batch_size")})
    with timed():
        history, _ = model.train(iterations=iterations, display_every=iterations // 4, verbose=0, **options)
    probe(f"{name}_first", np.sum(history.loss_train[0]), 1e-3)
    probe(f"{name}_second", np.sum(history.loss_train[1]), tolerance)
    if len(np.ravel(history.metrics_test[1])):
        probe(f"{name}_metric", history.metrics_test[1][0], tolerance)
    return history


def poisson():
    def pde(x, y):
        return -dde.grad.hessian(y, x) - np.pi**2 * torch.sin(np.pi * x)

    geometry = dde.geometry.Interval(-1, 1)
    exact = lambda x: np.sin(np.pi * x)
    data = dde.data.PDE(geometry, pde, dde.icbc.DirichletBC(geometry, exact, lambda x, on: on), 16, 2, solution=exact, num_test=100)
    model = dde.Model(data, dde.nn.FNN([1] + [50] * 3 + [1], "tanh", "Glorot uniform"))
    solve("poisson", model, 1200, metrics=["l2 relative error"])
    x = geometry.uniform_points(11)
    path = model.save("poisson")
    before = model.predict(x)
    model.train(iterations=5, verbose=0)
    model.restore(path)
    probe("restored", np.abs(model.predict(x) - before).max(), 0)
    probe("residual", np.abs(model.predict(x, operator=pde)).max() < 5, 0)


def burgers():
    def pde(x, y):
        dy_x, dy_t = dde.grad.jacobian(y, x, i=0, j=0), dde.grad.jacobian(y, x, i=0, j=1)
        return dy_t + y * dy_x - 0.01 / np.pi * dde.grad.hessian(y, x, i=0, j=0)

    domain = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 0.99))
    walls = dde.icbc.DirichletBC(domain, lambda x: 0, lambda _, on: on)
    start = dde.icbc.IC(domain, lambda x: -np.sin(np.pi * x[:, 0:1]), lambda _, on: on)
    data = dde.data.TimePDE(domain, pde, [walls, start], num_domain=800, num_boundary=60, num_initial=80, train_distribution="uniform")
    model = dde.Model(data, dde.nn.FNN([2] + [20] * 3 + [1], "tanh", "Glorot normal"))
    solve("burgers", model, 200, loss_weights=[1, 2, 1], callbacks=[dde.callbacks.PDEPointResampler(period=150)])
    dde.optimizers.set_LBFGS_options(maxiter=40)
    model.compile("L-BFGS")
    with timed():
        history, _ = model.train(display_every=20, verbose=0)
    probe("burgers_lbfgs", np.sum(history.loss_train[-1]) < np.sum(history.loss_train[0]), 0)


def system():
    time = dde.geometry.TimeDomain(0, 6)

    def equations(x, y):
        return [dde.grad.jacobian(y, x, i=0) - y[:, 1:], dde.grad.jacobian(y, x, i=1) + y[:, 0:1]]

    begin = [
        dde.icbc.IC(time, lambda x: 0, lambda _, on: on, component=0), dde.icbc.IC(time, lambda x: 1, lambda _, on: on, component=1),
    ]  # fmt: skip
    exact = lambda x: np.hstack((np.sin(x), np.cos(x)))
    data = dde.data.PDE(time, equations, begin, 35, 2, solution=exact, num_test=100, train_distribution="uniform")
    model = dde.Model(data, dde.nn.FNN([1] + [40] * 2 + [2], "tanh", "Glorot uniform"))
    solve("system", model, 800, metrics=["l2 relative error"], decay=("step", 200, 0.9))


def inverse():
    c = dde.Variable(2.0)

    def pde(x, y):
        source = torch.exp(-x[:, 1:]) * (torch.sin(np.pi * x[:, 0:1]) - np.pi**2 * torch.sin(np.pi * x[:, 0:1]))
        return dde.grad.jacobian(y, x, i=0, j=1) - c * dde.grad.hessian(y, x, i=0, j=0) + source

    domain = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))
    exact = lambda x: np.sin(np.pi * x[:, 0:1]) * np.exp(-x[:, 1:])
    seen = np.vstack((np.linspace(-1, 1, num=10), np.full(10, 1))).T
    conditions = [
        dde.icbc.DirichletBC(domain, exact, lambda _, on: on), dde.icbc.IC(domain, exact, lambda _, on: on),
        dde.icbc.PointSetBC(seen, exact(seen), component=0),
    ]
    data = dde.data.TimePDE(domain, pde, conditions, num_domain=40, num_boundary=20, num_initial=10, anchors=seen, solution=exact, num_test=200, train_distribution="uniform")
    net = dde.nn.FNN([2] + [32] * 3 + [1], "tanh", "Glorot uniform")
    net.apply_feature_transform(lambda x: torch.cat([x, x[:, :1] * x[:, 1:]], dim=1)[:, :2])
    net.apply_output_transform(lambda x, y: 0.5 * y)
    values = dde.callbacks.VariableValue(c, period=100)
    solve("inverse", dde.Model(data, net), 300, metrics=["l2 relative error"], external_trainable_variables=c,
          callbacks=[values, dde.callbacks.EarlyStopping(patience=2000), dde.callbacks.ModelCheckpoint("best", save_better_only=True, period=100)])
    probe("constant", values.get_value()[0], 2e-2)


def functions():
    geometry = dde.geometry.Interval(-1, 1)
    data = dde.data.Function(geometry, lambda x: x * np.sin(5 * x), 16, 100)
    nets = {
        "relu": dde.nn.FNN([1, 20, 20, 1], "relu", "He normal", regularization=("l2", 1e-5)),
        "several": dde.nn.FNN([1, 20, 20, 1], ["swish", "elu", "sigmoid"], "Glorot normal"),
        "sine": dde.nn.FNN([1, 20, 20, 1], "sin", "Glorot uniform"),
    }
    for name, net in nets.items():
        solve(name, dde.Model(data, net), 100, metrics=["l2 relative error"])


def operator():
    rng = np.random.default_rng(0)
    inputs, points = rng.normal(size=(100, 20)).astype("float32"), np.linspace(0, 1, 30, dtype="float32")[:, None]
    outputs = (np.cumsum(inputs, 1)[:, :1] * points[:, 0]).astype("float32")
    data = dde.data.TripleCartesianProd((inputs, points), outputs, (inputs, points), outputs)
    net = dde.nn.DeepONetCartesianProd([20, 40, 40], [1, 40, 40], "relu", "Glorot normal")
    solve("operator", dde.Model(data, net), 400, metrics=["mean l2 relative error"])


for part in (poisson, burgers, system, inverse, functions, operator):
    part()
