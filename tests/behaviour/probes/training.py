"""Probes of optimizers, schedules, data, distributions and averaged models."""

from __future__ import annotations

from probes.tables import lines, product

OPTIMIZERS = """
SGD: lr=0.1 | lr=0.1, momentum=0.9 | lr=0.1, momentum=0.9, nesterov=True | lr=0.1, momentum=0.9, dampening=0.5
SGD: lr=0.1, weight_decay=0.1 | lr=0.1, maximize=True | lr=0.1, momentum=0.9, weight_decay=0.1, maximize=True | lr=0.0
SGD: lr=0.1, foreach=True | lr=0.1, differentiable=False | lr=0.1, fused=False
Adam: lr=0.01 | lr=0.01, betas=(0.5, 0.9) | lr=0.01, eps=1e-2 | lr=0.01, weight_decay=0.1 | lr=0.01, amsgrad=True
Adam: lr=0.01, maximize=True | lr=0.01, amsgrad=True, weight_decay=0.1 | lr=0.01, betas=(0.0, 0.0) | lr=0.01, eps=0
Adam: lr=0.01, decoupled_weight_decay=True, weight_decay=0.1 | lr=torch.tensor(0.01) | lr=0.01, foreach=False
AdamW: lr=0.01 | lr=0.01, weight_decay=0.5 | lr=0.01, amsgrad=True | lr=0.01, maximize=True | lr=0.01, betas=(0.5, 0.5)
Adamax: lr=0.01 | lr=0.01, betas=(0.5, 0.9) | lr=0.01, weight_decay=0.1 | lr=0.01, maximize=True | lr=0.01, eps=0.1
NAdam: lr=0.01 | lr=0.01, momentum_decay=0.1 | lr=0.01, weight_decay=0.1 | lr=0.01, decoupled_weight_decay=True
NAdam: lr=0.01, weight_decay=0.1, decoupled_weight_decay=True | lr=0.01, maximize=True | lr=0.01, betas=(0.5, 0.9)
RAdam: lr=0.01 | lr=0.01, weight_decay=0.1 | lr=0.01, weight_decay=0.1, decoupled_weight_decay=True | lr=0.01, maximize=True
RAdam: lr=0.01, betas=(0.5, 0.9) | lr=0.01, eps=0.1 | lr=0.01, betas=(0.9, 0.5)
RMSprop: lr=0.01 | lr=0.01, alpha=0.5 | lr=0.01, momentum=0.9 | lr=0.01, centered=True | lr=0.01, weight_decay=0.1
RMSprop: lr=0.01, centered=True, momentum=0.5 | lr=0.01, maximize=True | lr=0.01, eps=0.1
Adagrad: lr=0.1 | lr=0.1, lr_decay=0.5 | lr=0.1, weight_decay=0.1 | lr=0.1, initial_accumulator_value=1.0
Adagrad: lr=0.1, maximize=True | lr=0.1, eps=0.1
Adadelta: lr=1.0 | lr=0.5, rho=0.5 | lr=1.0, weight_decay=0.1 | lr=1.0, maximize=True | lr=1.0, eps=1e-3
ASGD: lr=0.01 | lr=0.01, lambd=0.1 | lr=0.01, alpha=0.5 | lr=0.01, t0=1 | lr=0.01, weight_decay=0.1 | lr=0.01, maximize=True
Rprop: lr=0.01 | lr=0.01, etas=(0.1, 1.5) | lr=0.01, step_sizes=(0.005, 0.02) | lr=0.01, maximize=True
LBFGS: lr=0.1 | lr=1.0 | lr=0.5, max_iter=3 | lr=1.0, history_size=2 | lr=1.0, line_search_fn="strong_wolfe"
LBFGS: lr=1.0, max_iter=5, max_eval=4 | lr=1.0, tolerance_grad=1.0 | lr=1.0, tolerance_change=0.1
"""
WRONG_OPTIONS = """
lr=-1.0
lr="a"
lr=None
lr=nan
lr=torch.tensor([0.1, 0.2])
eps=-1.0
betas=(1.0, 0.9)
betas=(0.9, -0.1)
betas=0.9
weight_decay=-1.0
momentum=-0.5
momentum=0.0, nesterov=True
momentum=0.9, dampening=0.5, nesterov=True
rho=2.0
alpha=-1.0
lr_decay=-1.0
initial_accumulator_value=-1.0
etas=(2.0, 1.5)
momentum_decay=-1.0
unknown=1
foreach=True, fused=True
"""
KINDS = "SGD Adam AdamW Adamax NAdam RAdam RMSprop Adagrad Adadelta ASGD Rprop LBFGS".split()
ABOUT_OPTIMIZERS = """
sorted(k for k in optim.<k>([nn.Parameter(vector)]).param_groups[0] if k != "params")
sorted((k, v) for k, v in optim.<k>([nn.Parameter(vector)]).defaults.items() if isinstance(v, (int, float)))
repr(optim.<k>([nn.Parameter(vector)]))
optim.<k>([nn.Parameter(vector)]).state_dict()
(lambda p: (lambda o: (p.sum().backward(), o.step(lambda: p.sum()), o.state_dict()))(optim.<k>([p], lr=0.1)))(nn.Parameter(vector))
(lambda p: (lambda o: (p.sum().backward(), o.step(lambda: p.sum()), sorted(o.state[p])))(optim.<k>([p], lr=0.1)))(nn.Parameter(vector))
(lambda p: (lambda o: (o.step(lambda: torch.tensor(1.0)), p, len(o.state)))(optim.<k>([p], lr=0.1)))(nn.Parameter(vector))
(lambda p: (lambda o: (setattr(p, "grad", torch.zeros(3)), o.step(lambda: torch.tensor(1.0)), p))(optim.<k>([p], lr=0.1)))(nn.Parameter(vector))
(lambda p: (lambda o: (setattr(p, "grad", torch.tensor([nan, inf, 0.0])), o.step(lambda: torch.tensor(1.0)), p))(optim.<k>([p], lr=0.1)))(nn.Parameter(vector))
(lambda p: (lambda o: (p.sum().backward(), o.zero_grad(), p.grad))(optim.<k>([p], lr=0.1)))(nn.Parameter(vector))
(lambda p: (lambda o: (p.sum().backward(), o.zero_grad(set_to_none=False), p.grad))(optim.<k>([p], lr=0.1)))(nn.Parameter(vector))
(lambda p: (lambda o: (setattr(p, "grad", torch.ones(3)), [o.step(lambda: torch.tensor(1.0)) for _ in range(3)], p))(optim.<k>([p], lr=0.1)))(nn.Parameter(torch.zeros(3).double().float()))
steps("<k>", 4, filled(nn.Linear(3, 1, dtype=torch.float64)), lr=0.05)
steps("<k>", 4, then(filled(nn.Linear(3, 1)), lambda m: m.bias.requires_grad_(False)), lr=0.05)
optim.<k>([])
optim.<k>(nn.Parameter(vector))
optim.<k>([vector])
optim.<k>([1])
optim.<k>([nn.Parameter(vector).exp()])
optim.<k>("abc")
optim.<k>([{"params": [nn.Parameter(vector)], "lr": 0.5}], lr=0.1).param_groups[0]["lr"]
optim.<k>([{"lr": 0.5}], lr=0.1)
optim.<k>([("a", nn.Parameter(vector))], lr=0.1).param_groups[0]["param_names"]
(lambda p: optim.<k>([p, p], lr=0.1))(nn.Parameter(vector))
(lambda p: optim.<k>([{"params": [p]}, {"params": [p]}], lr=0.1))(nn.Parameter(vector))
(lambda o: (o.add_param_group({"params": [nn.Parameter(vector)], "lr": 2.0}), [g["lr"] for g in o.param_groups]))(optim.<k>([nn.Parameter(vector)], lr=0.1))
(lambda o: o.add_param_group(1))(optim.<k>([nn.Parameter(vector)], lr=0.1))
(lambda o: (o.load_state_dict(optim.<k>([nn.Parameter(vector)], lr=0.7).state_dict()), o.param_groups[0]["lr"]))(optim.<k>([nn.Parameter(vector)], lr=0.1))
(lambda o: o.load_state_dict(optim.<k>([nn.Parameter(vector), nn.Parameter(vector)], lr=0.7).state_dict()))(optim.<k>([nn.Parameter(vector)], lr=0.1))
(lambda o: o.load_state_dict({}))(optim.<k>([nn.Parameter(vector)], lr=0.1))
(lambda o: (setattr(o.param_groups[0]["params"][0], "grad", torch.ones(3)), o.param_groups[0].update(lr=0.5), o.step(lambda: torch.tensor(1.0)), o.param_groups[0]["params"]))(optim.<k>([nn.Parameter(vector)], lr=0.1))
(lambda o: o.step("a"))(optim.<k>([nn.Parameter(vector)], lr=0.1))
optim.<k>([nn.Parameter(vector)], lr=0.1).step(lambda: 3.0)
"""
SCHEDULES = """
sched.StepLR(o, 3)
sched.StepLR(o, 3, gamma=0.5)
sched.StepLR(o, 1, gamma=1.0)
sched.StepLR(o, 2, last_epoch=-1)
sched.StepLR(o, 0)
sched.MultiStepLR(o, [2, 5])
sched.MultiStepLR(o, [5, 2], gamma=0.5)
sched.MultiStepLR(o, [2, 2, 3], gamma=0.5)
sched.MultiStepLR(o, [])
sched.ConstantLR(o)
sched.ConstantLR(o, 0.5, 4)
sched.ConstantLR(o, 1.5)
sched.LinearLR(o)
sched.LinearLR(o, 0.5, 0.25, 6)
sched.LinearLR(o, 0.0)
sched.LinearLR(o, total_iters=0)
sched.ExponentialLR(o, 0.9)
sched.ExponentialLR(o, 0.0)
sched.PolynomialLR(o)
sched.PolynomialLR(o, 8, 2.0)
sched.CosineAnnealingLR(o, 5)
sched.CosineAnnealingLR(o, 4, 0.1)
sched.CosineAnnealingLR(o, 0)
sched.CosineAnnealingWarmRestarts(o, 3)
sched.CosineAnnealingWarmRestarts(o, 2, 2, 0.05)
sched.CosineAnnealingWarmRestarts(o, 0)
sched.CosineAnnealingWarmRestarts(o, 2, 0)
sched.CosineAnnealingWarmRestarts(o, 2.5)
sched.LambdaLR(o, lambda e: 1 / (e + 1))
sched.LambdaLR(o, [lambda e: 0.9 ** e])
sched.LambdaLR(o, [lambda e: 1, lambda e: 2])
sched.MultiplicativeLR(o, lambda e: 0.9)
sched.CyclicLR(o, 0.1, 1.0, 3)
sched.CyclicLR(o, 0.1, 1.0, 3, cycle_momentum=False)
sched.CyclicLR(o, 0.1, 1.0, 2, 4, mode="triangular2", cycle_momentum=False)
sched.CyclicLR(o, 0.1, 1.0, 2, mode="exp_range", gamma=0.9, cycle_momentum=False)
sched.CyclicLR(o, 0.1, 1.0, 2, scale_fn=lambda x: 0.5, cycle_momentum=False)
sched.CyclicLR(o, 0.1, 1.0, 2, mode="other", cycle_momentum=False)
sched.OneCycleLR(o, 1.0, 12, cycle_momentum=False)
sched.OneCycleLR(o, 1.0, epochs=3, steps_per_epoch=5, cycle_momentum=False)
sched.OneCycleLR(o, 1.0, 13, pct_start=0.5, anneal_strategy="linear", cycle_momentum=False)
sched.OneCycleLR(o, 1.0, 13, three_phase=True, cycle_momentum=False, div_factor=10, final_div_factor=100)
sched.OneCycleLR(o, 1.0, 5, cycle_momentum=False)
sched.OneCycleLR(o, 1.0)
sched.OneCycleLR(o, 1.0, -5)
sched.OneCycleLR(o, 1.0, 13, pct_start=2.0)
sched.OneCycleLR(o, 1.0, 13, anneal_strategy="other")
sched.OneCycleLR(o, 1.0, 13)
sched.SequentialLR(o, [sched.ConstantLR(o, 0.1, 2), sched.ExponentialLR(o, 0.9)], [3])
sched.SequentialLR(o, [sched.LinearLR(o, 0.1, 1.0, 4), sched.CosineAnnealingLR(o, 6)], milestones=[4])
sched.SequentialLR(o, [sched.LinearLR(o, 0.1, 1.0, 4), sched.StepLR(o, 2, 0.5), sched.ExponentialLR(o, 0.5)], [3, 7])
sched.SequentialLR(o, [sched.ConstantLR(o)], [])
sched.SequentialLR(o, [sched.ConstantLR(o), sched.StepLR(o, 2)], [1, 2])
sched.SequentialLR(o, [], [])
sched.ChainedScheduler([sched.ConstantLR(o, 0.1, 2), sched.ExponentialLR(o, 0.9)])
sched.ChainedScheduler([sched.StepLR(o, 2, 0.5), sched.LinearLR(o, 0.5, 1.0, 4)], optimizer=o)
sched.ChainedScheduler([])
sched.LRScheduler(o)
sched.StepLR(None, 3)
sched.StepLR("a", 3)
sched.StepLR(o, "a")
sched.ExponentialLR(o, "a")
sched.LambdaLR(o, 1)
sched.CosineAnnealingLR(o, 5, last_epoch=3)
optim.swa_utils.SWALR(o, 0.05, anneal_epochs=3)
optim.swa_utils.SWALR(o, 0.05, "linear", 4)
optim.swa_utils.SWALR(o, 0.05, "other")
"""
SCHEDULE_USES = """
rates(lambda o: <s>)
rates(lambda o: <s>, 8, lr=torch.tensor(0.5))
rates(lambda o: <s>, 14, kind="Adam")
resumed(lambda o: <s>)
(lambda o: (<s>, o.param_groups[0]["lr"], o.param_groups[0].get("initial_lr")))(optimizer_of())[1:]
(lambda o: (lambda s: (s.step(), s.get_last_lr(), s.last_epoch))(<s>))(optimizer_of())
(lambda o: sorted(k for k, v in <s>.state_dict().items() if isinstance(v, (int, float)) and k[0] != "_"))(optimizer_of())
(lambda o: (lambda s: (o.step(), s.step(5), o.param_groups[0]["lr"]))(<s>))(optimizer_of())
"""
PLATEAUS = """
(lambda o: (lambda s: [(s.step(v), o.param_groups[0]["lr"], s.num_bad_epochs)[1:] for v in <v>])(sched.ReduceLROnPlateau(o, <o>)))(optimizer_of())
(lambda o: (lambda s: ([s.step(v) for v in <v>][:0], s.state_dict()["best"], s.get_last_lr(), s.last_epoch))(sched.ReduceLROnPlateau(o, <o>)))(optimizer_of())
"""
VALUES = """
[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
[3.0, 2.0, 1.0, 1.5, 1.2, 0.9, 0.95, 0.96, 0.97]
[1.0, nan, nan, nan, 0.5, inf]
[torch.tensor(1.0)] * 5
[-1.0, -1.0001, -1.0, -1.0, -1.0]
"""
PLATEAU_OPTIONS = """
patience=1
patience=0, factor=0.5
"max", patience=1
patience=1, cooldown=2
patience=1, threshold=0.5
patience=1, threshold=0.1, threshold_mode="abs"
patience=0, min_lr=0.2
patience=0, min_lr=[0.2]
patience=0, min_lr=[0.2, 0.3]
patience=0, eps=0.6
factor=1.0
mode="other"
threshold_mode="other"
"""
DATA = """
list(data.DataLoader(<d>, <o>))
len(data.DataLoader(<d>, <o>))
[b[0].shape for b in data.DataLoader(<d>, <o>)] if not isinstance(<d>, Stream) else 0
"""
DATASETS = """
Squares(5)
Stream(5)
[1, 2, 3]
[1.5, 2.5]
[(1, "a"), (2, "b")]
[{"x": 1, "y": [1.0, 2.0]}, {"x": 2, "y": [3.0, 4.0]}]
data.TensorDataset(tall, classes)
data.TensorDataset(tall)
data.Subset(Squares(5), [0, 3])
data.ConcatDataset([Squares(2), Squares(1)])
data.StackDataset(Squares(3), [1, 2, 3])
list(tall)
tall
np.arange(6).reshape(3, 2)
Squares(0)
[]
"""
LOADER_OPTIONS = """
batch_size=2
batch_size=2, drop_last=True
batch_size=None
batch_size=3, shuffle=False
batch_size=7
batch_size=2, collate_fn=list
batch_size=2, sampler=[0, 1]
batch_sampler=[[0, 1], [1]]
batch_size=0
batch_size=-1
batch_size=2, batch_sampler=[[0]]
shuffle=True, sampler=[0]
batch_size=2, num_workers=-1
batch_size=2, timeout=-1
"""
OPTIMIZER_HOOKS = """
seen(lambda log: (lambda o: (o.register_step_pre_hook(lambda o, a, k: log(1)), o.register_step_post_hook(lambda o, a, k: log(2)), o.step()))(optimizer_of("<k>")))
seen(lambda log: (lambda o: (o.register_state_dict_post_hook(lambda o, s: log(sorted(s))), len(o.state_dict())))(optimizer_of("<k>")))
seen(lambda log: (lambda o: (o.register_state_dict_pre_hook(lambda o: log(1)), len(o.state_dict())))(optimizer_of("<k>")))
seen(lambda log: (lambda o: (o.register_load_state_dict_pre_hook(lambda o, s: log(sorted(s))), o.load_state_dict(o.state_dict())))(optimizer_of("<k>")))
seen(lambda log: (lambda o: (o.register_load_state_dict_post_hook(lambda o: log(1)), o.load_state_dict(o.state_dict())))(optimizer_of("<k>")))
"""
ABOUT_DATA = """
list(data.SequentialSampler(range(3)))
list(data.BatchSampler(range(5), 2, False))
list(data.BatchSampler(range(5), 2, True))
len(data.BatchSampler(range(5), 2, True))
data.BatchSampler(range(5), 0, False)
data.BatchSampler(range(5), 2, 1)
sorted(data.RandomSampler(range(4)))
len(data.RandomSampler(range(4), num_samples=2))
len(list(data.RandomSampler(range(4), replacement=True, num_samples=9)))
data.RandomSampler(range(4), num_samples=0)
data.RandomSampler([])
data.RandomSampler(range(4), replacement="a")
sorted(data.SubsetRandomSampler([3, 1]))
list(data.WeightedRandomSampler([0.0, 1.0], 3))
list(data.WeightedRandomSampler([0.0, 1.0], 2, replacement=False))
data.WeightedRandomSampler([0.0, 1.0], 0)
data.WeightedRandomSampler([[0.0, 1.0]], 1)
data.WeightedRandomSampler([0.0, 1.0], True)
list(data.WeightedRandomSampler([-1.0, 1.0], 2))
[len(s) for s in data.random_split(Squares(10), [7, 3])]
[len(s) for s in data.random_split(Squares(10), [0.5, 0.5])]
[len(s) for s in data.random_split(Squares(10), [0.33, 0.33, 0.34])]
[len(s) for s in data.random_split(Squares(3), [0.5, 0.5])]
[len(s) for s in data.random_split(Squares(3), [0.9, 0.1, 0.0])]
data.random_split(Squares(10), [7, 2])
data.random_split(Squares(10), [0.5, 0.6])
data.random_split(Squares(10), [-1, 11])
sorted(i for s in data.random_split(range(5), [2, 3]) for i in s)
data.TensorDataset(tall, classes)[0]
data.TensorDataset(tall, classes)[1:3]
data.TensorDataset(tall, classes)[9]
data.TensorDataset(tall, labels)
data.TensorDataset()
len(data.TensorDataset(tall))
data.Subset(Squares(5), [0, 3])[1]
data.Subset(Squares(5), [0, 9])[1]
data.Subset(Squares(5), [0, 3])[[0, 1]]
data.ConcatDataset([Squares(2), Squares(1)])[2]
data.ConcatDataset([Squares(2), Squares(1)])[-1]
data.ConcatDataset([Squares(2), Squares(1)])[5]
data.ConcatDataset([Squares(2), Squares(1)])[-4]
data.ConcatDataset([])
data.ConcatDataset([Stream(2)])
data.ConcatDataset([Squares(2), Squares(1)]).cumulative_sizes
Squares(2) + Squares(1)
list(data.ChainDataset([Stream(2), Stream(1)]))
Stream(2) + Stream(1)
len(data.ChainDataset([Stream(2)]))
data.StackDataset(a=Squares(2), b=[1, 2])[0]
data.StackDataset(Squares(2), [1])
data.StackDataset()
data.Dataset()[0]
len(data.Dataset())
data.default_collate([1, 2])
data.default_collate([1.5, 2.5])
data.default_collate(["a", "b"])
data.default_collate([True, False])
data.default_collate([vector, vector])
data.default_collate([vector, labels])
data.default_collate([vector.numpy(), vector.numpy()])
data.default_collate([(1, 2), (3, 4)])
data.default_collate([[1, 2], [3, 4]])
data.default_collate([{"a": 1}, {"a": 2}])
data.default_collate([{"a": 1}, {"b": 2}])
data.default_collate([(1, 2), (3,)])
data.default_collate([None])
data.default_collate([object()])
data.default_collate([])
data.default_collate([b"a"])
data.default_collate([np.array("a")])
data.default_collate([matrix.requires_grad_(), other])
data.default_convert([1, vector.numpy(), "a"])
data.default_convert({"a": np.arange(2)})
data.get_worker_info()
data.DataLoader(Squares(4), batch_size=2).batch_size
data.DataLoader(Squares(4), batch_size=2).dataset.count
data.DataLoader(Squares(4), shuffle=True).sampler
data.DataLoader(Stream(4), shuffle=True)
data.DataLoader(Stream(4), sampler=[1])
len(data.DataLoader(Stream(4)))
setattr(data.DataLoader(Squares(4)), "batch_size", 2)
sorted(int(b[1]) for b in data.DataLoader(Squares(4), shuffle=True))
next(iter(data.DataLoader(Squares(4), batch_size=3)))
[len(list(l)) for l in [data.DataLoader(Squares(4))] for _ in range(2)]
data.DataLoader(Squares(4), batch_size="a")
data.DataLoader(Squares(4), batch_size=2.0)
data.DataLoader(1)
list(data.DataLoader(1))
data.DataLoader(Squares(4), generator=torch.Generator()).generator is None
"""
DISTRIBUTIONS = """
dist.Normal(<a>, <b>).log_prob(torch.tensor([0.0, 1.0, -2.5]))
dist.Normal(<a>, <b>).<m>
dist.Laplace(<a>, <b>).<m>
dist.LogNormal(<a>, <b>).<m>
dist.Uniform(<a>, <b>).<m>
dist.Gamma(<a>, <b>).<m>
dist.Beta(<a>, <b>).<m>
"""
MORE_DISTRIBUTIONS = """
dist.Bernoulli(<p>).<m>
dist.Bernoulli(logits=<p>).<m>
dist.Categorical(<p>).<m>
dist.Categorical(logits=<p>).<m>
dist.OneHotCategorical(<p>).<m>
dist.Exponential(<p>).<m>
dist.Poisson(<p>).<m>
dist.Dirichlet(<p>).<m>
"""
KLS = """
dist.kl_divergence(dist.Normal(0.0, 1.0), dist.Normal(vector, 2.0))
dist.kl_divergence(dist.Categorical(unit), dist.Categorical(positive))
dist.kl_divergence(dist.Bernoulli(unit), dist.Bernoulli(0.5))
dist.kl_divergence(dist.Exponential(unit), dist.Exponential(2.0))
dist.kl_divergence(dist.Laplace(0.0, 1.0), dist.Laplace(1.0, 2.0))
dist.kl_divergence(dist.Uniform(0.0, 1.0), dist.Uniform(-1.0, 2.0))
dist.kl_divergence(dist.Gamma(1.0, 1.0), dist.Gamma(2.0, 3.0))
dist.kl_divergence(dist.Beta(1.0, 1.0), dist.Beta(2.0, 3.0))
dist.kl_divergence(dist.Poisson(1.0), dist.Poisson(2.0))
dist.kl_divergence(dist.Dirichlet(unit), dist.Dirichlet(positive))
dist.kl_divergence(dist.Normal(0.0, 1.0), dist.Uniform(0.0, 1.0))
dist.MultivariateNormal(vector, spd).log_prob(vector * 2)
dist.MultivariateNormal(vector, spd).entropy()
dist.MultivariateNormal(vector, singular * 0)
dist.MultivariateNormal(vector, scale_tril=spd.tril()).covariance_matrix
dist.Independent(dist.Normal(vector, 1.0), 1).log_prob(vector)
dist.Independent(dist.Normal(vector, 1.0), 2)
dist.Normal(vector, 1.0).batch_shape
dist.Normal(0.0, 1.0).sample((2, 3)).shape
dist.Normal(vector, 1.0).rsample((2,)).shape
dist.Categorical(unit).sample((4,)).shape
dist.Normal(vector, -1.0)
dist.Normal("a", 1.0)
dist.Normal(vector, -1.0, validate_args=False).scale
dist.Normal(0.0, 1.0).log_prob("a")
dist.Normal(0.0, 1.0).log_prob(1)
dist.Normal(0.0, 1.0).log_prob(torch.tensor(nan))
dist.Uniform(1.0, 0.0)
dist.Categorical(-unit)
dist.Categorical()
dist.Categorical(unit, unit)
dist.Bernoulli(torch.tensor(1.5))
dist.Categorical(unit).log_prob(torch.tensor([5, 0]))
dist.Categorical(unit).log_prob(labels)
gradient(lambda t: dist.Normal(t, 1.0).log_prob(other), matrix)
gradient(lambda t: dist.Categorical(logits=t).log_prob(labels), matrix)
gradient(lambda t: dist.Categorical(logits=t).entropy(), matrix)
gradient(lambda t: dist.Bernoulli(logits=t).log_prob(mask.float()), matrix)
gradient(lambda t: dist.Gamma(t, 1.0).log_prob(other.abs()), positive)
gradient(lambda t: dist.Beta(t, 2.0).log_prob(unit), positive)
gradient(lambda t: dist.kl_divergence(dist.Normal(t, 1.0), dist.Normal(0.0, t.exp())), matrix)
gradient(lambda t: dist.Normal(t, 0.0, validate_args=False).rsample(), matrix)
repr(dist.Normal(0.0, 1.0))
repr(dist.Categorical(unit))
dist.Normal(0.0, 1.0).expand((2,)).batch_shape
"""
AVERAGED = """
(lambda m: (lambda a: (a.update_parameters(m), m[0].bias.data.add_(1), a.update_parameters(m), a.module[0].bias, a.n_averaged))(optim.swa_utils.AveragedModel(m<o>)))(network())
[n for n, _ in optim.swa_utils.AveragedModel(network()<o>).named_parameters()][:2]
(lambda m: (lambda a: (a.update_parameters(m), m(tall), a.update_parameters(m), list(a.module.buffers())))(optim.swa_utils.AveragedModel(m<o>)))(network())
(lambda m: (lambda a: (optim.swa_utils.update_bn([tall], a), list(a.module.buffers())))(optim.swa_utils.AveragedModel(m<o>)))(network())
(lambda m: optim.swa_utils.AveragedModel(m<o>)(tall))(network().eval())
"""


def _optimizers() -> list[str]:
    made = []
    for line in lines(OPTIMIZERS):
        kind, _, options = line.partition(": ")
        # Line searches are sensitive to rounding, so this is a quadratic function in float64.
        model = "filled(nn.Linear(3, 1, dtype=torch.float64)), " if kind == "LBFGS" else ""
        made += [f'steps("{kind}", <n>, {model}{option})' for option in options.split(" | ")]
    return made


GROUPS = {
    "optimizers": [
        *product(_optimizers(), n="1 3 6"),
        *product('optimizer_of("<k>", <o>).defaults', k=KINDS, o=[o for o in lines(WRONG_OPTIONS) if "lr=" in o]),
        *product('optim.<k>([nn.Parameter(vector)], <o>).defaults.keys() is None', k=KINDS,
                 o=[o for o in lines(WRONG_OPTIONS) if not o.startswith("lr=")]),
        *product(lines(ABOUT_OPTIMIZERS), k=KINDS),
        *product(lines(OPTIMIZER_HOOKS), k="SGD Adam"),
    ],
    "schedules": [*product(lines(SCHEDULE_USES), s=SCHEDULES), *product(lines(PLATEAUS), v=VALUES, o=PLATEAU_OPTIONS)],
    "data": [*product(lines(DATA), d=DATASETS, o=LOADER_OPTIONS), *lines(ABOUT_DATA)],
    "distributions": [
        *product(lines(DISTRIBUTIONS), a="0.5 vector.abs() torch.tensor([1.0,2.0,0.0])", b="1.0 2.0 positive[0] -1.0",
                 m="mean variance stddev entropy() log_prob(unit[0]) cdf(unit[0]) support.check(vector)"),
        *product(lines(MORE_DISTRIBUTIONS), p="unit vector.abs() torch.tensor([0.0,1.0,0.0]) unit[0] -vector.abs()",
                 m="mean variance entropy() log_prob(torch.tensor([0.,1.,0.])) log_prob(unit) batch_shape event_shape"),
        *lines(KLS),
    ],
    "averaged models": product(lines(AVERAGED), o=["", ", avg_fn=lambda a, b, n: 0.5 * (a + b)", ", use_buffers=True",
                               ", multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.9)"]),
}  # fmt: skip
