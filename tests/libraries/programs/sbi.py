"""Simulation-based inference: neural posterior, likelihood and ratio estimation, with flows of nflows and zuko."""

import warnings

warnings.simplefilter("ignore")

import numpy as np
import torch
from harness import probe, timed
from sbi.analysis import pairplot
from sbi.inference import NLE, NPE, NRE
from sbi.neural_nets import posterior_nn
from sbi.utils import BoxUniform

observed = torch.tensor([0.8, 0.6])
prior = BoxUniform(low=-2 * torch.ones(2), high=2 * torch.ones(2))
rng = np.random.default_rng(0)


def simulate(theta):
    return theta + 1.0 + 0.3 * torch.tensor(rng.normal(size=tuple(theta.shape)), dtype=torch.float32)


theta = torch.tensor(rng.uniform(-2, 2, (800, 2)), dtype=torch.float32)
data = simulate(theta)


def infer(name, kind, epochs=25, **options):
    torch.manual_seed(0)
    inference = kind(prior=prior, show_progress_bars=False, **options)
    with timed():
        inference.append_simulations(theta, data).train(max_num_epochs=epochs, training_batch_size=100, learning_rate=2e-3)
        if kind is NPE:
            posterior = inference.build_posterior()
        else:
            posterior = inference.build_posterior(mcmc_method="slice_np_vectorized", mcmc_parameters={"num_chains": 5, "warmup_steps": 10, "thin": 1})
        samples = posterior.sample((200,), x=observed, show_progress_bars=False)
    probe(f"{name}_mean", samples.mean(0).sum(), 0.35)
    probe(f"{name}_std", samples.std(0).sum() < 1.6, 0)
    return posterior


posterior = infer("maf", NPE, density_estimator="maf")
probe("density", bool(posterior.log_prob(torch.tensor([[-0.2, -0.4]]), x=observed) > posterior.log_prob(torch.tensor([[1.5, 1.5]]), x=observed)), 0)
infer("nsf", NPE, 8, density_estimator=posterior_nn("nsf", hidden_features=20, num_transforms=2))
infer("mdn", NPE, 40, density_estimator="mdn")
infer("zuko_maf", NPE, density_estimator="zuko_maf")
infer("nle", NLE, density_estimator="maf")
infer("nre", NRE, 40, classifier="mlp")
pairplot(posterior.sample((50,), x=observed, show_progress_bars=False))

# Two rounds, the second with parameters from the posterior of the first.
inference = NPE(prior=prior, show_progress_bars=False, density_estimator="mdn")
proposal, parameters, results = None, theta[:300], data[:300]
with timed():
    for _ in range(2):
        inference.append_simulations(parameters, results, proposal=proposal).train(max_num_epochs=15)
        proposal = inference.build_posterior().set_default_x(observed)
        parameters = proposal.sample((150,), show_progress_bars=False)
        results = simulate(parameters)
probe("rounds", "x".join(map(str, parameters.shape)))
