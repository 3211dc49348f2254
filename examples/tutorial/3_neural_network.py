"""A multi-layer perceptron from scratch reads handwritten digits.

    python examples/tutorial/3_neural_network.py [--samples N] [--epochs N]

Two hidden layers with ReLU, softmax at the end, minibatches of 32: the network of the tutorial, on
all of MNIST, which comes with fastnn. Five epochs reach 97% of the test images.
"""

import argparse
import time

import numpy as np

from fastnn.classic import NeuralNetwork
from fastnn.datasets import load_mnist

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--samples", type=int, default=60_000, help="training images to use (60000)")
parser.add_argument("--epochs", type=int, default=5, help="passes over them (5)")
options = parser.parse_args()

mnist = load_mnist()
# One row of numbers from 0 to 1 for each image, one row with a single 1 for each label.
images = mnist.train_images[: options.samples].reshape(-1, 784) / 255
one_hot = np.eye(10)[mnist.train_labels[: options.samples]]
test_images, test_labels = mnist.test_images.reshape(-1, 784) / 255, mnist.test_labels

network = NeuralNetwork([784, 128, 64, 10], seed=0)
start = time.perf_counter()
for epoch in range(1, options.epochs + 1):
    [loss] = network.train(images, one_hot, epochs=1, learning_rate=0.1, verbose=False)
    right = network.score(test_images, test_labels)
    print(f"epoch {epoch}: loss {loss:.4f}, {right:.2%} of the test images, {time.perf_counter() - start:.1f} s")

# The values of the last batch can be inspected, layer by layer.
for i, (weights, values) in enumerate(zip(network.layers, network.activations[1:], strict=True), start=1):
    silent = (values == 0).mean()
    print(f"layer {i}: weights {weights.shape}, {silent:.0%} of its outputs are zero")

# The image with the least certain prediction.
probabilities = network.predict_proba(test_images)
doubtful = probabilities.max(axis=1).argsort()[:3]
for number in doubtful:
    first, second = probabilities[number].argsort()[:-3:-1]
    print(f"test image {number} is a {test_labels[number]}; the network wavers between {first} and {second}")
