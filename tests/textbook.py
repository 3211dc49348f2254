"""The textbook's formulas as a reference: plain, slow and obvious, in NumPy and float64.

They are rewritten to avoid warnings about overflow; the values are those of the formulas.
"""

# ruff: noqa: NPY002  (the textbook draws from NumPy's global numbers)

from __future__ import annotations

import itertools

import numpy as np


def double(*arrays):
    """The arrays in float64."""
    found = [np.asarray(a, np.float64) for a in arrays]
    return found[0] if len(found) == 1 else found


def sigmoid(x):
    with np.errstate(all="ignore"):
        return 1 / (1 + np.exp(-double(x)))


def tanh(x):
    return np.tanh(double(x))


def relu(x):
    return np.maximum(0, double(x))


def leaky_relu(x, alpha=0.01):
    x = double(x)
    return np.where(x > 0, x, alpha * x)


def softmax(x):
    x = double(x)
    if not x.size:
        return x
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(-1, keepdims=True)) if x.ndim else np.exp(x - x)
        return e / (e.sum(-1, keepdims=True) if x.ndim else e)


def sigmoid_derivative(x):
    s = sigmoid(x)
    return s * (1 - s)


def tanh_derivative(x):
    return 1 - np.tanh(double(x)) ** 2


def _nan_stays(x, y):
    return np.where(np.isnan(x), x, y)


def relu_derivative(x):
    return _nan_stays(double(x), np.where(double(x) > 0, 1.0, 0.0))


def leaky_relu_derivative(x, alpha=0.01):
    return _nan_stays(double(x), np.where(double(x) > 0, 1.0, alpha))


def softmax_derivative(x):
    s = softmax(x)
    n = s.shape[-1]
    return s[..., :, None] * (np.eye(n) - s[..., None, :])


def mse_loss(y, p):
    y, p = double(y, p)
    return ((y - p) ** 2).mean() if y.size else np.nan


def mse_gradient(y, p):
    y, p = double(y, p)
    return 2 * (p - y) / (len(y) or 1)


def clipped(p):
    return np.clip(double(p), 1e-15, 1 - 1e-15)


def binary_cross_entropy(y, p):
    y, p = double(y), clipped(p)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean() if p.size else np.nan


def binary_cross_entropy_gradient(y, p):
    y, p = double(y), clipped(p)
    return (p - y) / (p * (1 - p)) / (p.size or 1)


def categorical_cross_entropy(y, p):
    y, p = double(y), clipped(p)
    return -(y * np.log(p)).sum(1).mean() if len(p) else np.nan


def categorical_cross_entropy_gradient(y, p):
    y, p = double(y), clipped(p)
    return -y / p / (len(p) or 1)


class Momentum:
    """SGD with a velocity of steps."""

    def __init__(self, lr, momentum):
        self.lr, self.momentum, self.velocity = lr, momentum, 0.0

    def update(self, p, g):
        self.velocity = self.momentum * self.velocity - self.lr * double(g)
        return double(p) + self.velocity


class Adam:
    """Adam with both bias corrections."""

    def __init__(self, lr, beta1, beta2, eps):
        self.lr, self.betas, self.eps, self.m, self.v, self.t = lr, (beta1, beta2), eps, 0.0, 0.0, 0

    def update(self, p, g):
        (b1, b2), g = self.betas, double(g)
        self.t += 1
        self.m, self.v = b1 * self.m + (1 - b1) * g, b2 * self.v + (1 - b2) * g**2
        return double(p) - self.lr * (self.m / (1 - b1**self.t)) / (np.sqrt(self.v / (1 - b2**self.t)) + self.eps)


class BatchNorm:
    """Normalisation over the rows, biased variance everywhere; the backward by the chain rule, term by term."""

    def __init__(self, n, eps=1e-5, momentum=0.1):
        self.gamma, self.beta, self.mean, self.var = np.ones(n), np.zeros(n), np.zeros(n), np.ones(n)
        self.eps, self.momentum = eps, momentum

    def forward(self, x, training=True):
        x = double(x)
        mean, var = (x.mean(0), x.var(0)) if training else (self.mean, self.var)
        if training:
            self.mean = (1 - self.momentum) * self.mean + self.momentum * mean
            self.var = (1 - self.momentum) * self.var + self.momentum * var
        self.centred, self.deviation = x - mean, np.sqrt(var + self.eps)
        return self.gamma * self.centred / self.deviation + self.beta

    def backward(self, grad):
        rows, normal = len(grad), self.centred / self.deviation
        self.dgamma, self.dbeta = (grad * normal).sum(0), grad.sum(0)
        d = grad * self.gamma
        dvar = (d * self.centred).sum(0) * -0.5 / self.deviation**3
        dmean = -d.sum(0) / self.deviation - 2 * dvar * self.centred.mean(0)
        return d / self.deviation + dvar * 2 * self.centred / rows + dmean / rows


class Perceptron:
    """The perceptron rule, sample by sample, from given weights."""

    def __init__(self, weights, bias, lr):
        self.weights, self.bias, self.lr = double(weights).copy(), float(bias), lr

    def predict(self, x):
        return 1 if (double(x) * self.weights).sum() + self.bias >= 0 else 0

    def train(self, xs, ys, epochs):
        with np.errstate(invalid="ignore"):
            for _ in range(epochs):
                for x, y in zip(double(xs), double(ys), strict=True):
                    error = y - self.predict(x)
                    self.weights = self.weights + self.lr * error * x
                    self.bias += self.lr * error


class Network:
    """ReLU layers and a softmax, trained in minibatches; uses NumPy's global generator, like the textbook."""

    def __init__(self, sizes):
        self.layers = [np.random.randn(m, n) * np.sqrt(2 / m) for m, n in itertools.pairwise(sizes)]
        self.biases = [np.zeros((1, n)) for n in sizes[1:]]

    def forward(self, x):
        self.activations, self.z_values = [double(x)], []
        for w, b in zip(self.layers, self.biases, strict=True):
            self.z_values.append(self.activations[-1] @ w + b)
            self.activations.append(relu(self.z_values[-1]))
        self.activations[-1] = softmax(self.z_values[-1])
        return self.activations[-1]

    def backward(self, y, lr):
        m, delta = len(y), self.activations[-1] - double(y)
        steps = []
        for i in reversed(range(len(self.layers))):
            steps.append((i, self.activations[i].T @ delta / m, delta.sum(0, keepdims=True) / m))
            if i:
                delta = delta @ self.layers[i].T * (self.z_values[i - 1] > 0)
        for i, dw, db in steps:
            self.layers[i] = self.layers[i] - lr * dw
            self.biases[i] = self.biases[i] - lr * db

    def train(self, x, y, epochs, lr, batch_size):
        """The mean loss of each epoch, every sample counted once."""
        losses = []
        for _ in range(epochs):
            order, total = np.random.permutation(len(x)), 0.0
            for start in range(0, len(x), batch_size):
                rows = order[start : start + batch_size]
                out = self.forward(x[rows])
                total += -(double(y)[rows] * np.log(out + 1e-8)).sum()
                self.backward(y[rows], lr)
            losses.append(total / len(x))
        return losses
