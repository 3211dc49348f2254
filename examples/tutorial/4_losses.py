"""Loss functions and their gradients, and a line fitted with one of them.

    python examples/tutorial/4_losses.py

A loss measures how wrong a prediction is; its gradient is the direction of the error.
"""

import numpy as np

from fastnn.classic import (
    binary_cross_entropy,
    binary_cross_entropy_gradient,
    categorical_cross_entropy,
    categorical_cross_entropy_gradient,
    mse_gradient,
    mse_loss,
    softmax,
)

# Regression: the squared error.
truth, guess = np.array([3.0, -0.5, 2.0]), np.array([2.5, 0.0, 2.0])
print("squared error      ", mse_loss(truth, guess), mse_gradient(truth, guess))

# Two classes: the probability of "yes". A confident wrong answer has a large loss, but a finite one.
yes, belief = np.array([1, 0, 1]), np.array([0.9, 0.1, 0.0])
print("binary entropy     ", binary_cross_entropy(yes, belief), binary_cross_entropy_gradient(yes, belief))

# Many classes: rows of probabilities; targets are one-hot rows or labels.
labels, rows = np.array([2, 0]), softmax(np.array([[0.1, 0.2, 3.0], [2.0, 0.0, 0.0]]))
one_hot = np.eye(3)[labels]
print("categorical entropy", categorical_cross_entropy(one_hot, rows), categorical_cross_entropy(labels, rows))
print(categorical_cross_entropy_gradient(labels, rows).round(3))

# Gradient descent: recover the line y = 2 x - 1 from noisy points.
rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (200, 1))
y = 2 * x - 1 + 0.1 * rng.standard_normal(x.shape)
slope, offset = 0.0, 0.0
for _ in range(300):
    error = mse_gradient(y, slope * x + offset)
    slope, offset = slope - 0.5 * (error * x).sum(), offset - 0.5 * error.sum()
print(f"y = {slope:.2f} x {offset:+.2f}, mean squared error {mse_loss(y, slope * x + offset):.4f}")
assert abs(slope - 2) < 0.1
