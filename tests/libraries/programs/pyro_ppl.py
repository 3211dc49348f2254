"""Models of Pyro: regressions by variational inference and by NUTS, a mixture, a VAE, a Bayesian network, flows."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from harness import initialize, probe, timed
from pyro import poutine
from pyro.distributions import constraints
from pyro.distributions import transforms as T
from pyro.infer import HMC, MCMC, NUTS, SVI, Predictive, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate, infer_discrete
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal
from pyro.nn import AutoRegressiveNN, PyroModule, PyroParam, PyroSample
from pyro.optim import Adam, ClippedAdam
from torch import nn

rng = np.random.default_rng(0)
x = torch.tensor(rng.normal(size=(200, 3)), dtype=torch.float32)
y = x @ torch.tensor([1.0, -2.0, 0.5]) + torch.tensor(rng.normal(size=200) * 0.3, dtype=torch.float32)


def regression(x, y=None):
    weights = pyro.sample("weights", dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1))
    bias = pyro.sample("bias", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.HalfCauchy(torch.tensor(1.0)))
    with pyro.plate("data", x.shape[0]):
        return pyro.sample("obs", dist.Normal(x @ weights + bias, scale), obs=y)


def start():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


for kind, steps in ((AutoDiagonalNormal, 500), (AutoNormal, 500), (AutoMultivariateNormal, 400), (AutoDelta, 500)):
    start()
    guide = kind(regression)
    svi = SVI(regression, guide, ClippedAdam({"lr": 0.03, "lrd": 0.999}), Trace_ELBO())
    with timed():
        for _ in range(steps):
            svi.step(x, y)
    for name, value in guide.median(x).items():
        probe(f"{kind.__name__}_{name}", value.sum(), 0.15)
    if kind is AutoNormal:
        samples = Predictive(regression, guide=guide, num_samples=100)(x)
        probe("predicted", samples["obs"].mean(), 0.1)
        probe("quantile", guide.quantiles([0.5])["bias"].item(), 0.1)
        state = {name: value.clone() for name, value in guide.state_dict().items()}
        torch.save(state, "guide.pt")
        guide.load_state_dict(torch.load("guide.pt"))
        probe("params", len(pyro.get_param_store().keys()), 0)

for kernel in (NUTS(regression), HMC(regression, step_size=0.05, num_steps=5)):
    start()
    mcmc = MCMC(kernel, num_samples=120, warmup_steps=60, disable_progbar=True)
    with timed():
        mcmc.run(x, y)
    for name, value in mcmc.get_samples().items():
        probe(f"{type(kernel).__name__}_{name}", value.mean(0).sum(), 0.1)


def coin(flips):
    fairness = pyro.sample("fairness", dist.Beta(10.0, 10.0))
    with pyro.plate("flips", len(flips)):
        pyro.sample("obs", dist.Bernoulli(fairness), obs=flips)


def coin_guide(flips):
    a = pyro.param("a", torch.tensor(15.0), constraint=constraints.positive)
    b = pyro.param("b", torch.tensor(15.0), constraint=constraints.positive)
    pyro.sample("fairness", dist.Beta(a, b))


start()
flips = torch.tensor([1.0] * 6 + [0.0] * 4)
svi = SVI(coin, coin_guide, Adam({"lr": 0.005}), TraceMeanField_ELBO())
with timed():
    for _ in range(500):
        svi.step(flips)
probe("fairness", (pyro.param("a") / (pyro.param("a") + pyro.param("b"))).item(), 0.05)


@config_enumerate
def mixture(data):
    weights = pyro.sample("weights", dist.Dirichlet(0.5 * torch.ones(2)))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
    with pyro.plate("components", 2):
        locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(data)):
        which = pyro.sample("which", dist.Categorical(weights))
        pyro.sample("obs", dist.Normal(locs[which], scale), obs=data)


def begin(site):
    return {"weights": torch.ones(2) / 2, "scale": torch.tensor(1.0), "locs": torch.tensor([0.0, 3.0])}[site["name"]]


start()
data = torch.tensor(np.concatenate([rng.normal(0, 0.5, 60), rng.normal(4, 0.7, 40)]), dtype=torch.float32)
guide = AutoDelta(poutine.block(mixture, expose=["weights", "locs", "scale"]), init_loc_fn=begin)
svi = SVI(mixture, guide, Adam({"lr": 0.1, "betas": [0.8, 0.99]}), TraceEnum_ELBO(max_plate_nesting=1))
with timed():
    for _ in range(250):
        loss = svi.step(data)
probe("mixture_loss", loss, 1e-3)
for name, value in guide(data).items():
    probe(f"mixture_{name}", value.max(), 1e-2)
trained = poutine.replay(mixture, poutine.trace(guide).get_trace(data))
which = poutine.trace(infer_discrete(trained, temperature=0, first_available_dim=-2)).get_trace(data).nodes["which"]["value"]
probe("mixture_which", which.sum(), 0)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.loc, self.scale = nn.Linear(64, 64), nn.Linear(64, 5), nn.Linear(64, 5)

    def forward(self, x):
        h = nn.functional.softplus(self.hidden(x))
        return self.loc(h), torch.exp(self.scale(h))


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.decoder = nn.Sequential(nn.Linear(5, 64), nn.Softplus(), nn.Linear(64, 64), nn.Sigmoid())

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(x.shape[0], 5), x.new_ones(x.shape[0], 5)).to_event(1))
            pyro.sample("obs", dist.Bernoulli(self.decoder(z), validate_args=False).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(*self.encoder(x)).to_event(1))


start()
images = torch.tensor(rng.uniform(size=(1000, 64)) > 0.7, dtype=torch.float32)
vae = initialize(VAE())
svi = SVI(vae.model, vae.guide, Adam({"lr": 1e-3}), Trace_ELBO())
with timed():
    for _ in range(15):
        loss = sum(svi.step(images[i : i + 100]) for i in range(0, 1000, 100)) / 1000
probe("vae_loss", loss, 3e-2)


class Bayesian(PyroModule):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = PyroModule[nn.Linear](3, 8), PyroModule[nn.Linear](8, 1)
        self.hidden.weight = PyroSample(dist.Normal(0.0, 1.0).expand([8, 3]).to_event(2))
        self.hidden.bias = PyroSample(dist.Normal(0.0, 1.0).expand([8]).to_event(1))
        self.factor = PyroParam(torch.tensor(1.0), constraint=constraints.positive)

    def forward(self, x, y=None):
        mean = self.out(torch.tanh(self.hidden(x))).squeeze(-1) * self.factor
        with pyro.plate("data", x.shape[0]):
            pyro.sample("obs", dist.Normal(mean, 0.5), obs=y)
        return mean


start()
model = Bayesian()
initialize(model.out)
guide = AutoDiagonalNormal(model, init_scale=0.01)
svi = SVI(model, guide, Adam({"lr": 0.02}), Trace_ELBO())
with timed():
    for _ in range(400):
        svi.step(x, y)
samples = Predictive(model, guide=guide, num_samples=50, return_sites=("obs", "hidden.weight", "_RETURN"))(x)
probe("bayesian_error", ((samples["_RETURN"].mean(0) - y) ** 2).mean() < 0.6, 0)

start()
points = torch.tensor(rng.normal(size=(300, 2)), dtype=torch.float32) * torch.tensor([1.0, 0.3]) + 1
for transform in (T.spline_coupling(2, count_bins=8), T.AffineAutoregressive(AutoRegressiveNN(2, [10], permutation=torch.arange(2))), T.affine_coupling(2, hidden_dims=[8])):
    flow = dist.TransformedDistribution(dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1), [transform])
    optimizer = torch.optim.Adam(nn.ModuleList([initialize(transform)]).parameters(), lr=0.01)
    with timed():
        for _ in range(60):
            optimizer.zero_grad()
            loss = -flow.log_prob(points).mean()
            loss.backward()
            optimizer.step()
            flow.clear_cache()
    probe(f"{type(transform).__name__}_loss", loss, 1e-2)
