"""A perceptron learns the AND gate, and then a line between a million points.

    python examples/tutorial/1_perceptron.py [--points N]

The perceptron is the smallest network there is: a weighted sum and a step. Its rule moves the
weights only where the answer was wrong.
"""

import argparse
import time

import numpy as np

from fastnn.classic import Perceptron

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--points", type=int, default=1_000_000, help="points of the second part (1000000)")
points = parser.parse_args().points

# Every pair of bits, and their AND.
inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
targets = inputs.all(axis=1).astype(int)

gate = Perceptron(n_inputs=2, seed=0)
gate.train(inputs, targets, epochs=10)
for pair in inputs:
    print(f"{pair[0]} AND {pair[1]} = {gate.predict(pair)}")
print(f"weights {gate.weights.round(3)}, bias {gate.bias:.3f}")

# The same rule on many points. A line through the plane decides their class. The strip around the line
# is left empty, so that the classes can be separated.
rng = np.random.default_rng(0)
cloud = rng.uniform(-1, 1, (points, 2))
side = cloud @ [2.0, -1.0] + 0.3
cloud, side = cloud[np.abs(side) > 0.05], side[np.abs(side) > 0.05]
classes = (side > 0).astype(int)

line = Perceptron(n_inputs=2, seed=0)
start = time.perf_counter()
line.train(cloud, classes, epochs=20)  # compiled by the gate above
seconds = time.perf_counter() - start
right = (line.predict(cloud) == classes).mean()
print(f"{len(cloud):,} points, {right:.2%} on the right side of the line, {seconds * 1000:.0f} ms")
