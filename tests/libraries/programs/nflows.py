"""Normalizing flows of nflows: autoregressive, coupling, splines, and one that is conditional."""

import numpy as np
import torch
from harness import initialize, probe, timed
from nflows.distributions.normal import ConditionalDiagonalNormal, StandardNormal
from nflows.flows.base import Flow
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    AffineCouplingTransform, BatchNorm, CompositeTransform, LULinear, MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform, PiecewiseRationalQuadraticCouplingTransform, ReversePermutation, SVDLinear,
)
from torch import optim

rng = np.random.default_rng(0)
noise = rng.normal(size=(2000, 2))
points = torch.tensor(np.stack([noise[:, 0], noise[:, 0] ** 2 / 2 + 0.3 * noise[:, 1]], 1), dtype=torch.float32)


def net(inputs, outputs):
    return ResidualNet(inputs, outputs, hidden_features=16, num_blocks=1)


flows = {
    "autoregressive": Flow(
        CompositeTransform([t for _ in range(4) for t in (ReversePermutation(features=2), MaskedAffineAutoregressiveTransform(features=2, hidden_features=24))]),
        StandardNormal(shape=[2]),
    ),
    "coupling": Flow(CompositeTransform([AffineCouplingTransform([1, 0], net), LULinear(2), BatchNorm(2), AffineCouplingTransform([0, 1], net), SVDLinear(2, 2)]), StandardNormal([2])),
    "spline": Flow(CompositeTransform([PiecewiseRationalQuadraticCouplingTransform([1, 0], net, num_bins=6, tails="linear", tail_bound=4.0), LULinear(2), PiecewiseRationalQuadraticCouplingTransform([0, 1], net, num_bins=6, tails="linear", tail_bound=4.0)]), StandardNormal([2])),
    "autoregressive_spline": Flow(MaskedPiecewiseRationalQuadraticAutoregressiveTransform(2, 16, num_bins=5, tails="linear", tail_bound=3.0), StandardNormal([2])),
    "conditional": Flow(MaskedAffineAutoregressiveTransform(2, 16, context_features=1, num_blocks=1), ConditionalDiagonalNormal([2], context_encoder=torch.nn.Linear(1, 4))),
}
for name, flow in flows.items():
    conditional = name == "conditional"
    initialize(flow)
    optimizer = optim.Adam(flow.parameters(), lr=1e-3)
    losses = []
    with timed():
        for i in range(150):
            batch = points[i * 100 % 2000 :][:100]
            optimizer.zero_grad()
            loss = -flow.log_prob(inputs=batch, context=batch[:, :1] if conditional else None).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    flow.eval()
    with torch.no_grad():
        context = points[:50, :1] if conditional else None
        inner, logdet = flow._transform(points[:50], context)
        back, _ = flow._transform.inverse(inner, context)
        samples = flow.sample(4, context) if conditional else flow.sample(200)
    probe(f"{name}_first", losses[0], 1e-4)
    probe(f"{name}_last", losses[-1], 1e-2)
    probe(f"{name}_logdet", logdet.mean(), 0.15)
    probe(f"{name}_inverse", (back - points[:50]).abs().max() < 1e-3, 0)
    probe(f"{name}_samples", "x".join(map(str, samples.shape)))
