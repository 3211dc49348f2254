"""Gaussian processes of GPyTorch: exact, with many kernels, variational, of several outputs, with a network."""

import math

import gpytorch
import numpy as np
import torch
from harness import initialize, probe, timed
from torch import nn

rng = np.random.default_rng(0)


def tensor(array):
    return torch.tensor(array, dtype=torch.float32)


class Exact(gpytorch.models.ExactGP):
    def __init__(self, x, y, likelihood, kernel, mean=None, net=None):
        super().__init__(x, y, likelihood)
        self.mean_module, self.covar_module, self.net = mean or gpytorch.means.ConstantMean(), kernel, net

    def forward(self, x):
        if self.net is not None:
            x = self.net(x)
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def fit(model, likelihood, x, y, steps, lr=0.1):
    model.train()
    likelihood.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    with timed():
        for _ in range(steps):
            optimizer.zero_grad()
            loss = -mll(model(x), y)
            loss.backward()
            optimizer.step()
    model.eval()
    likelihood.eval()
    return loss.item()


x = torch.linspace(0, 1, 100)
y = torch.sin(x * 2 * math.pi) + 0.2 * tensor(rng.normal(size=100))
kernels = gpytorch.kernels

likelihood = gpytorch.likelihoods.GaussianLikelihood()
model = Exact(x, y, likelihood, kernels.ScaleKernel(kernels.RBFKernel()))
probe("exact_loss", fit(model, likelihood, x, y, 150))
probe("lengthscale", model.covar_module.base_kernel.lengthscale.item(), 1e-2)
probe("noise", likelihood.noise.item(), 1e-2)
with torch.no_grad(), gpytorch.settings.fast_pred_var():
    prediction = likelihood(model(torch.linspace(0, 1, 51)))
    lower, upper = prediction.confidence_region()
probe("mean", prediction.mean.sum(), 1e-2)
probe("variance", prediction.variance.sum(), 1e-2)
probe("region", (upper - lower).sum(), 1e-2)
probe("draws", "x".join(map(str, model(x[:5]).sample(torch.Size([3])).shape)))
torch.save(model.state_dict(), "model.pt")
again = Exact(x, y, gpytorch.likelihoods.GaussianLikelihood(), kernels.ScaleKernel(kernels.RBFKernel()))
again.load_state_dict(torch.load("model.pt"))
again.eval()
probe("loaded", again(x[:3] + 0.01).mean.sum() - model(x[:3] + 0.01).mean.sum(), 1e-3)
model(x[:2] + 0.01)
probe("fantasy", model.get_fantasy_model(tensor([0.5]), tensor([0.3]))(tensor([0.25])).mean.item(), 1e-2)

points = tensor(rng.uniform(size=(300, 3)))
targets = torch.sin(3 * points).sum(-1)
likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_constraint=gpytorch.constraints.GreaterThan(1e-3))
model = Exact(points, targets, likelihood, kernels.ScaleKernel(kernels.MaternKernel(nu=2.5, ard_num_dims=3)), gpytorch.means.LinearMean(3))
initialize(model)
probe("matern_loss", fit(model, likelihood, points, targets, 40), 2e-3)
probe("matern", model(points[:9] + 0.01).mean.sum(), 1e-2)

some, aims = points[:40, :2], targets[:40]
for name, kernel in {
    "matern_0.5": kernels.MaternKernel(nu=0.5), "periodic": kernels.PeriodicKernel(), "quadratic": kernels.RQKernel(),
    "linear": kernels.LinearKernel(), "polynomial": kernels.PolynomialKernel(2), "piecewise": kernels.PiecewisePolynomialKernel(q=1),
    "sum": kernels.RBFKernel(active_dims=[0]) + kernels.LinearKernel(active_dims=[1]), "product": kernels.RBFKernel() * kernels.PeriodicKernel(),
    "prior": kernels.RBFKernel(ard_num_dims=2, lengthscale_prior=gpytorch.priors.GammaPrior(3.0, 6.0)),
}.items():  # fmt: skip
    likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_prior=gpytorch.priors.NormalPrior(0.1, 0.5))
    kernel = kernels.ScaleKernel(kernel, outputscale_constraint=gpytorch.constraints.Interval(0.1, 10.0))
    model = Exact(some, aims, likelihood, kernel)
    probe(f"{name}_loss", fit(model, likelihood, some, aims, 8), 1e-2)
    probe(f"{name}_mean", model(some[:5] + 0.01).mean.sum(), 2e-2)


class Variational(gpytorch.models.ApproximateGP):
    def __init__(self, inducing, distribution):
        distribution = distribution(inducing.size(0), mean_init_std=0.0)
        super().__init__(gpytorch.variational.VariationalStrategy(self, inducing, distribution, learn_inducing_locations=True))
        self.mean_module, self.covar_module = gpytorch.means.ConstantMean(), kernels.ScaleKernel(kernels.RBFKernel())

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


# In double precision: rounding grows in the factors of nearly singular matrices.
many = tensor(rng.uniform(size=(600, 2))).double()
values = torch.sin(3 * many).sum(-1)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(many, values), batch_size=200)
for distribution in (gpytorch.variational.CholeskyVariationalDistribution, gpytorch.variational.MeanFieldVariationalDistribution):
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    model = Variational(many[:30].clone(), distribution).double()
    optimizer = torch.optim.Adam([{"params": model.parameters()}, {"params": likelihood.parameters()}], lr=0.02)
    mll = gpytorch.mlls.VariationalELBO(likelihood, model, num_data=600)
    with timed():
        for _ in range(20):
            for a, b in loader:
                optimizer.zero_grad()
                loss = -mll(model(a), b)
                loss.backward()
                optimizer.step()
    model.eval()
    probe(f"{distribution.__name__}_loss", loss.item(), 2e-2)
    probe(f"{distribution.__name__}_mean", likelihood(model(many[:9])).mean.sum(), 2e-2)

labels = torch.sign(torch.cos(x * 4 * math.pi)).add(1).div(2)
model, likelihood = Variational(x[::5].clone().unsqueeze(-1), gpytorch.variational.CholeskyVariationalDistribution), gpytorch.likelihoods.BernoulliLikelihood()
mll = gpytorch.mlls.VariationalELBO(likelihood, model, 100)
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
with timed():
    for _ in range(50):
        optimizer.zero_grad()
        loss = -mll(model(x.unsqueeze(-1)), labels)
        loss.backward()
        optimizer.step()
model.eval()
probe("classified", likelihood(model(x.unsqueeze(-1))).mean.ge(0.5).float().eq(labels).float().mean() > 0.85, 0)


class Tasks(gpytorch.models.ExactGP):
    def __init__(self, x, y, likelihood):
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.MultitaskMean(gpytorch.means.ConstantMean(), num_tasks=2)
        self.covar_module = kernels.MultitaskKernel(kernels.RBFKernel(), num_tasks=2, rank=1)

    def forward(self, x):
        return gpytorch.distributions.MultitaskMultivariateNormal(self.mean_module(x), self.covar_module(x))


likelihood = gpytorch.likelihoods.MultitaskGaussianLikelihood(num_tasks=2)
both = torch.stack([torch.sin(x * 6), torch.cos(x * 6)], -1)
model = initialize(Tasks(x, both, likelihood))
probe("tasks_loss", fit(model, likelihood, x, both, 20), 2e-2)
probe("tasks", likelihood(model(x[:5] + 0.01)).mean.sum(), 5e-2)

likelihood = gpytorch.likelihoods.GaussianLikelihood()
model = Exact(points, targets, likelihood, kernels.ScaleKernel(kernels.RBFKernel(ard_num_dims=2)), net=initialize(nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2))))
probe("deep_loss", fit(model, likelihood, points, targets, 30, 0.02), 1e-2)
