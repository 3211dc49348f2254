"""Activation functions, their derivatives, and a picture of them.

    python examples/tutorial/2_activations.py [--picture activations.png]

Without an activation between them, two layers are one. The derivatives are what backpropagation
multiplies by. The picture needs matplotlib: pip install 'fastnn[plot]'.
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
    # Both come from one file by their names: f and f_derivative.
    for label in (name, f"{name}_derivative"):
        print(f"{label:>22}", *(f"{value:>9.4g}" for value in getattr(classic, label)(x)))

# Softmax makes probabilities of any numbers, also of those whose exponentials overflow.
scores = np.array([[1.0, 2.0, 3.0], [1e4, 0.0, -1e4]])
print("softmax of", scores.tolist(), "is", classic.softmax(scores).round(4).tolist())

# An array given as `out` receives the result: nothing is allocated.
buffer = np.empty_like(x)
classic.sigmoid(x, out=buffer)
assert (buffer >= 0).all()

if picture:
    classic.plot_activations(picture)
    print(f"wrote {picture}")
