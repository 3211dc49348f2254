"""Activation functions, their derivatives, and a picture of them.

    python examples/tutorial/2_activations.py [--picture activations.png]

Two layers without an activation between them are equivalent to one. Backpropagation multiplies by
the derivatives. The picture needs matplotlib: pip install 'fastnn[plot]'.
"""

import argparse

import numpy as np

from fastnn import classic

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--picture", metavar="FILE", help="write the picture to this file")
picture = parser.parse_args().picture

x = np.array([-1000.0, -2.0, -0.5, 0.0, 0.5, 2.0, 1000.0])
names = ("sigmoid", "tanh", "relu", "leaky_relu")

print(f"{'x':>22}", *(f"{value:>9g}" for value in x))
for name in names:
    # Both are functions of fastnn.classic: f and f_derivative.
    for label in (name, f"{name}_derivative"):
        print(f"{label:>22}", *(f"{value:>9.4g}" for value in getattr(classic, label)(x)))

# Softmax turns any numbers into probabilities, even numbers whose exponentials overflow.
scores = np.array([[1.0, 2.0, 3.0], [1e4, 0.0, -1e4]])
print("softmax of", scores.tolist(), "is", classic.softmax(scores).round(4).tolist())

# The result is written into `out`: no array is allocated.
buffer = np.empty_like(x)
classic.sigmoid(x, out=buffer)
assert (buffer >= 0).all()

if picture:
    classic.plot_activations(picture)
    print(f"wrote {picture}")
