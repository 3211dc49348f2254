"""Three optimizers minimise the same function.

    python examples/tutorial/5_optimizers.py

It is Rosenbrock's: a long curved valley, steep at the sides and nearly flat along the bottom, with its
minimum at (1, 1). Plain gradient descent is slow, momentum accelerates, Adam scales each axis by its
own gradients.
"""

import numpy as np

from fastnn.classic import Adam, SGDMomentum, sgd_update


def height(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def slope(p):
    find_side_effects = p[1] - p[0] ** 2
    return np.array([-2 * (1 - p[0]) - 400 * p[0] * find_side_effects, 200 * find_side_effects])


momentum, adam = SGDMomentum(learning_rate=0.0005, momentum=0.9), Adam(learning_rate=0.02)
walkers = {
    "gradient descent": lambda p, g: sgd_update(p, g, 0.0005),
    "with momentum": momentum.update,
    "Adam": adam.update,
}
print(f"{'steps':>17}", *(f"{steps:>8}" for steps in (0, 100, 1000, 5000)))
for name, step in walkers.items():
    p, heights = np.array([-1.2, 1.0]), []
    for number in range(5001):
        if number in (0, 100, 1000, 5000):
            heights.append(height(p))
        # A new array each time; the velocity or the moments stay in the optimizer.
        p = step(p, slope(p))
    print(f"{name:>17}", *(f"{value:8.2g}" for value in heights), f"  at ({p[0]:.3f}, {p[1]:.3f})")
    assert height(p) < 0.1
