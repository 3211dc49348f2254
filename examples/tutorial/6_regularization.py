"""Against overfitting: a small network built by hand with L2, dropout or batch normalisation.

    python examples/tutorial/6_regularization.py [--steps N]

Twenty-five noisy points and far too many weights: without regularisation the network fits the noise.
The layers are built here from the functions of fastnn.classic, forward and backward, so that each step
is visible.
"""

import argparse

import numpy as np

from fastnn.classic import (
    Adam,
    BatchNorm,
    Dropout,
    l2_gradient,
    l2_regularization,
    mse_gradient,
    mse_loss,
    relu,
    relu_derivative,
)

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=2000, help="steps of Adam for each network (2000)")
steps = parser.parse_args().steps

rng = np.random.default_rng(1)


def points(count, noise):
    x = rng.uniform(-1, 1, (count, 1))
    return x, np.sin(4 * x) + noise * rng.standard_normal(x.shape)


x_train, y_train = points(25, 0.5)
x_test, y_test = points(1000, 0.0)


def run(title, *, strength=0.0, drop=0.0, normalize=False, width=200):
    """Train one hidden layer with the given regularisation and print the errors on both sets."""
    start = np.random.default_rng(0)
    w1, b1 = 3 * start.standard_normal((1, width)), start.standard_normal(width)
    w2, b2 = start.standard_normal((width, 1)) / np.sqrt(width), np.zeros(1)
    dropout, norm = Dropout(drop, seed=0), BatchNorm(width)
    optimizers = [Adam(0.01) for _ in range(6)]

    def forward(x, training):
        z = x @ w1 + b1
        n = norm.forward(z, training) if normalize else z
        a = dropout.forward(relu(n), training)
        return n, a, a @ w2 + b2

    for _ in range(steps):
        n, a, out = forward(x_train, training=True)
        d_out = mse_gradient(y_train, out)
        d_n = dropout.backward(d_out @ w2.T) * relu_derivative(n)
        d_z = norm.backward(d_n) if normalize else d_n
        gradients = [x_train.T @ d_z, d_z.sum(0), a.T @ d_out, d_out.sum(0)]
        # The penalty pulls every weight towards zero; biases have no penalty.
        gradients[0] += l2_gradient(w1, strength)
        gradients[2] += l2_gradient(w2, strength)
        w1, b1, w2, b2 = (
            optimizer.update(p, g) for optimizer, p, g in zip(optimizers, (w1, b1, w2, b2), gradients, strict=False)
        )
        if normalize:
            norm.gamma = optimizers[4].update(norm.gamma, norm.dgamma)
            norm.beta = optimizers[5].update(norm.beta, norm.dbeta)

    penalty = l2_regularization(w1, strength) + l2_regularization(w2, strength)
    errors = [mse_loss(y, forward(x, training=False)[2]) for x, y in ((x_train, y_train), (x_test, y_test))]
    print(f"{title:24} training error {errors[0]:.4f}   test error {errors[1]:.4f}   penalty {penalty:.4f}")


run("no help")
run("L2", strength=1e-3)
run("dropout", drop=0.2)
run("batch normalisation", normalize=True)
