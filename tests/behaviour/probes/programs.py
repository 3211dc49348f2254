"""Probes of several lines of a program: passes repeated, switches in the middle, shared memory, nested data, NaN."""

from __future__ import annotations

from probes.tables import lines, product

# Functions of a matrix whose gradients read the operand, the result, or neither.
FUNCTIONS = """
torch.exp(t)
torch.relu(t)
F.leaky_relu(t, 0.2)
F.hardtanh(t, -0.5, 0.5)
F.softshrink(t)
t.abs()
t.clamp(-0.5, 0.5)
t.max(1)[0]
t.median(1)[0]
t.sort(1)[0]
t.var(1)
t.std()
t.norm(dim=1)
t.prod(1)
t.cumsum(1)
t.cumprod(1)
t.softmax(1)
t.logsumexp(1)
F.layer_norm(t, (3,)) * other
F.normalize(t)
t @ t.t()
t[:, [0, 0, 2]]
torch.cat([t, t * 2])
torch.where(t > 0, t * t, t)
F.gelu(t)
F.mse_loss(t, other)
F.cross_entropy(t, labels)
F.smooth_l1_loss(t, other)
"""
PASSES = """
(lambda x: (lambda l: [torch.autograd.grad(l, x, retain_graph=True)[0] for _ in range(2)])((lambda t: <f>)(x).sum()))(leaf(matrix))
(lambda x: ((lambda t: <f>)(x).sum().backward(), (lambda t: <f>)(x * 2).sum().backward(), x.grad)[-1])(leaf(matrix))
(lambda x: (lambda l: (l.backward(retain_graph=True), torch.autograd.grad(l, x), l.backward(), x.grad)[1:])((lambda t: <f>)(x).sum()))(leaf(matrix))
(lambda x: (lambda l: (l.backward(), l.backward()))((lambda t: <f>)(x).sum()))(leaf(matrix))
(lambda x: (lambda y: (x.data.mul_(1), y.sum().backward(), x.grad)[-1])((lambda t: <f>)(x)))(leaf(matrix))
"""
LAYERS = """
nn.Linear(3, 3)
nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())
nn.LayerNorm(3)
nn.PReLU()
nn.Bilinear(3, 3, 2)
nn.RMSNorm(3)
nn.GroupNorm(3, 3)
nn.Sequential(nn.Linear(3, 3), nn.Sigmoid())
"""
USES = """
saved(then(filled(<m>), lambda m: call(m, matrix), lambda m: call(m, matrix)), weights_only=False).state_dict()
saved(then(filled(<m>), lambda m: call(m, matrix)).state_dict())
(lambda m: (lambda y: (m.requires_grad_(True), y.sum().backward(), [p.grad for p in m.parameters()])[-1])(call(m.requires_grad_(False), leaf(matrix))))(filled(<m>))
(lambda m: (lambda y: (m.requires_grad_(False), y.sum().backward(), [p.grad for p in m.parameters()])[-1])(call(m, matrix)))(filled(<m>))
(lambda m: [call(m.double(), matrix.double()), call(m.float(), matrix)])(filled(<m>))
(lambda m: (lambda n: (n.load_state_dict(m.state_dict()), call(n, matrix))[-1])(copy.deepcopy(m)))(filled(<m>))
(lambda m: (call(m, matrix).sum().backward(), m.zero_grad(), call(m, other).sum().backward(), [p.grad for p in m.parameters()])[-1])(filled(<m>))
(lambda m: (call(m, matrix).sum().backward(), m.zero_grad(set_to_none=False), [p.grad for p in m.parameters()])[-1])(filled(<m>))
(lambda m: (call(m, matrix).sum().backward(), call(m, other).sum().backward(), [p.grad for p in m.parameters()])[-1])(filled(<m>))
(lambda m: (call(m.eval(), matrix), call(m.train(), matrix), [b for b in m.buffers()]))(filled(<m>))
call(filled(<m>), matrix * nan)
call(filled(<m>), matrix * inf)
call(filled(<m>), torch.zeros(0, 3))
"""
DATA = """
torch.tensor([<a>, <b>])
torch.tensor([[<a>], [<b>]])
torch.tensor([<a>, <b>], dtype=torch.float64)
torch.as_tensor([<a>, <b>])
torch.stack([torch.as_tensor(<a>), torch.as_tensor(<b>)])
data.default_collate([<a>, <b>])
"""
ELEMENTS = """
1
2.5
True
np.float32(1.5)
np.int8(3)
np.uint8(3)
torch.tensor(2)
torch.tensor([1.5])
np.array([1.0])
[1, 2]
"""
MEMORY = """
(lambda x: (x.expand(2, 3)[0].zero_(), x)[-1])(torch.ones(1, 3))
(lambda x: (x.expand(3, 3)[:, 1].add_(2), x)[-1])(torch.ones(3, 1))
(lambda x: (x.expand(3, 3)[:, :1].copy_(torch.arange(3.0)[:, None]), x)[-1])(torch.ones(3, 1))
(lambda x: (setting(x.expand(3, 3), (0, 0), 5.0), x)[-1])(torch.ones(1, 1))
(lambda x: (setting(x.expand(3, 3), (slice(None), 1), vector), x)[-1])(torch.ones(3, 1))
(lambda x: (setting(x.expand(3, 3), (slice(None), 1), 2), x)[-1])(torch.ones(3, 1, dtype=torch.int64))
(lambda x: (x.expand(3, 3).diagonal().fill_(2), x)[-1])(torch.ones(3, 1))
(lambda x: (x.expand(3, 3).select(1, 2).mul_(vector), x)[-1])(torch.ones(3, 1))
(lambda x: (x.expand(3, 3).unbind(1)[0].neg_(), x)[-1])(torch.ones(3, 1))
(lambda x: setting(x.expand(3, 3), 0, 5.0))(torch.ones(3, 1))
(lambda x: setting(x.expand(3, 3), (0, 1), vector))(torch.ones(3, 1))
(lambda w: (lambda x: (x.expand(3, 3)[:, 1].mul_(3), x.sum().backward(), w.grad)[-1])(w * 2))(leaf(torch.ones(3, 1)))
(lambda w: (lambda x: (x.expand(3, 3)[:, 1].mul_(w), (x[:, 0] * vector).sum().backward(), w.grad)[-1])(torch.ones(3, 1)))(leaf(torch.ones(3)))
(lambda p: (p.sum().backward(), optim.SGD([p], lr=0.1).step(), p)[-1])(torch.ones(1, 3).expand(2, 3).requires_grad_())
optim.SGD([torch.ones(2, 3).t().requires_grad_()], lr=0.1).param_groups[0]["lr"]
(lambda a, b: (setattr(a.weight, "data", b.weight.data), b.weight.data.zero_(), a.weight)[-1])(nn.Linear(3, 2), nn.Linear(3, 2))
(lambda a, b: (setattr(a.weight, "data", b.weight.data.t()), b.weight.data.zero_(), a.weight)[-1])(nn.Linear(3, 3), nn.Linear(3, 3))
(lambda t: (lambda p: (t.zero_(), p)[-1])(nn.Parameter(t)))(torch.ones(3))
(lambda t: (lambda e: (t.zero_(), e.weight)[-1])(nn.Embedding.from_pretrained(t)))(torch.ones(3, 2))
(lambda m, s: (m.load_state_dict(s, assign=True), s["weight"].zero_(), m.weight)[-1])(nn.Linear(3, 2), {"weight": torch.ones(2, 3), "bias": torch.ones(2)})
(lambda m, s: (m.load_state_dict(s), s["weight"].zero_(), m.weight)[-1])(nn.Linear(3, 2), {"weight": torch.ones(2, 3), "bias": torch.ones(2)})
(lambda m: nn.utils.vector_to_parameters(torch.arange(8.0), m.parameters()) or list(m.parameters()))(nn.Linear(3, 2))
(lambda m: (m.weight.data.view(-1).fill_(2), m.weight)[-1])(nn.Linear(3, 2))
(lambda m: (m.weight.detach().t().fill_(2), m.weight)[-1])(nn.Linear(3, 2))
(lambda m: (m.weight.detach().numpy().fill(2), m.weight)[-1])(nn.Linear(3, 2))
(lambda m: then(m, lambda m: setattr(m, "weight", m.weight)).weight.is_contiguous())(nn.Linear(3, 2))
"""
# Numbers that an integer or float16 cannot hold, without dimensions.
LARGE = """
a_uint8 / torch.tensor(300)
torch.tensor(300) / a_int8
a_uint8.true_divide(torch.tensor(-1))
a_uint8.add(torch.tensor(300))
a_uint8.remainder(torch.tensor(300))
a_uint8 == torch.tensor(300)
a_int8 < torch.tensor(300)
torch.maximum(a_int8, torch.tensor(300))
torch.where(mask, a_uint8, torch.tensor(300))
torch.ldexp(a_uint8, torch.tensor(2.0, dtype=torch.float64))
torch.ldexp(double_matrix, torch.tensor(300))
a_int64.addcmul(a_int64, a_int64, value=torch.tensor(-1))
a_int64.addcmul(a_int64, a_int64, value=2.0)
torch.full((2,), 70000, dtype=torch.float16)
torch.full_like(half_matrix, 70000)
half_matrix.new_full((2,), -70000.0)
half_matrix.fill_(70000)
half_matrix.fill_(inf)
half_matrix.index_fill(1, labels, 70000)
half_matrix.masked_fill(mask, 70000)
F.threshold(half_matrix, 0, 70000)
F.threshold(a_int8, 1, 300)
F.hardtanh(a_int8, -1, 300)
F.hardtanh(a_int8, -300, 3)
half_matrix + 70000
torch.addcmul(a_int64, a_uint8, a_uint8)
torch.addcmul(matrix, a_uint8, a_uint8)
torch.addcmul(torch.tensor(2.5), a_uint8, a_uint8)
torch.addcmul(matrix, half_matrix, half_matrix)
torch.addcmul(half_matrix, torch.tensor(2.5), matrix)
torch.addcdiv(matrix, half_matrix, half_matrix)
torch.addcdiv(double_matrix, matrix, matrix)
torch.addcdiv(a_uint8, matrix, torch.tensor(2.0, dtype=torch.float64))
gradient(lambda t: torch.addcmul(t, half_matrix, half_matrix, value=2), matrix)
gradient(lambda t: torch.addcdiv(matrix, t, double_matrix), half_matrix)
then(matrix.clone(), lambda t: t.addcmul_(a_uint8, a_uint8))
"""
# float16 whose squares overflow.
SQUARES = """
(half_matrix * 300).norm()
(half_matrix * 300).norm(dim=1)
(half_matrix * 300).norm(1)
(half_matrix * 300).norm(3)
(half_matrix * 300).norm(inf)
torch.linalg.vector_norm(half_matrix * 300, dim=0)
torch.linalg.matrix_norm(half_matrix * 300)
torch.dist(half_matrix * 300, half_matrix)
F.normalize(half_matrix * 300)
F.pairwise_distance(half_matrix * 300, half_matrix)
torch.renorm(half_matrix * 300, 2, 0, 1.0)
(half_matrix * 300).var()
(half_matrix * 300).std(0)
(half_matrix * 3000).mean()
nn.utils.get_total_norm([half_matrix * 300])
gradient(lambda t: (t * 300).norm(), half_matrix)
gradient(lambda t: (t * 300).norm(dim=1), half_matrix)
gradient(lambda t: F.normalize(t * 300), half_matrix)
gradient(lambda t: (t * 300) @ (t * 300).t(), half_matrix)
gradient(lambda t: torch.einsum("ij,kj->ik", t * 300, t * 300), half_matrix)
gradient(lambda t: torch.bmm(t[None] * 300, t.t()[None] * 300), half_matrix)
gradient(lambda t: torch.addmm(t[:, :2], t * 300, t.t() * 300), half_matrix)
(half_matrix * 3000).cov()
(lambda p: (setattr(p, "grad", half_matrix * 300), nn.utils.clip_grad_norm_([p], 1.0), p.grad))(nn.Parameter(half_matrix.clone()))
(lambda p: (setattr(p, "grad", half_matrix * 300), nn.utils.clip_grad_norm_([p], 1.0, inf), p.grad))(nn.Parameter(half_matrix.clone()))
(lambda p: (setattr(p, "grad", half_matrix * 300), nn.utils.clip_grad_value_([p], 1.0), p.grad))(nn.Parameter(half_matrix.clone()))
"""
NUMBERS = """
matrix <o> np.float64(2.5)
matrix <o> np.float32(2.5)
matrix <o> np.int64(2)
matrix <o> np.bool_(True)
np.float64(2.5) <o> matrix
a_int64 <o> np.float64(2.5)
a_int64 <o> np.int8(2)
torch.tensor(2.0, dtype=torch.float64) <o> matrix
a_uint8 <o> torch.tensor(300)
mask <o> 2
"""
GENERAL = """
torch.tensor([1, np.bool_(True)])
torch.tensor([2.5, np.bool_(True)])
torch.tensor([300], dtype=torch.uint8)
torch.tensor([-1], dtype=torch.uint8)
torch.tensor([300.0], dtype=torch.int8)
a_int64.prod(dtype=torch.float64)
torch.full((10000,), 0.1).cumsum(0)[-1]
torch.full((10000,), 0.1).sum()
torch.quantile(torch.tensor([1.0, inf]), 0.25)
torch.quantile(torch.tensor([-inf, 1.0, inf]), torch.tensor([0.1, 0.9]))
torch.nanquantile(torch.tensor([nan, 1.0, 2.0]), 0.5)
then(nn.BatchNorm1d(3), lambda m: call(m, torch.zeros(0, 3))).running_mean
then(nn.BatchNorm1d(3).eval(), lambda m: call(m, torch.zeros(0, 3))).running_var
gradient(lambda t: t.prod(), torch.tensor([0.0, 2.0, 3.0]))
gradient(lambda t: t.prod(), torch.tensor([0.0, 0.0, 3.0]))
gradient(lambda t: t.prod(0), torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
then(torch.arange(6.0), lambda x: setting(x, x > 3, torch.tensor(3.0)))
then(torch.arange(6), lambda x: setting(x, x > 3, torch.tensor(3)))
then(torch.arange(6.0), lambda x: setting(x, x > 3, torch.tensor(3)))
then(torch.arange(6.0), lambda x: setting(x, [0, 2], 1))
torch.arange(12).view(3, 4)[[0, 1, 1], [0, 1, 2]]
torch.arange(12).view(3, 4)[[[0, 0, 1]]]
torch.arange(12).view(3, 4)[(0, 1), ]
torch.arange(12).view(3, 4)[[True, False, True]]
list(torch.no_grad()(lambda: (i for i in range(3)))())
(lambda g: (next(g), torch.is_grad_enabled()))(torch.no_grad()(generator)())
(lambda g: (next(g), g.send(5)))(torch.no_grad()(generator)())
(lambda g: [*g])(torch.enable_grad()(generator)())
inside(torch.no_grad(), lambda: (leaf(matrix) * 2).requires_grad)
inside(torch.inference_mode(), lambda: (matrix * 2).is_inference())
inside(torch.set_grad_enabled(False), torch.is_grad_enabled)
F.soft_margin_loss(matrix, vector)
F.mse_loss(matrix, vector)
F.l1_loss(matrix, column)
F.multilabel_margin_loss(torch.tensor([[0.1, 0.2, 0.4]]), torch.tensor([[2, 0, -1]]))
second(lambda t: F.relu(t) * t, matrix)
second(lambda t: F.leaky_relu(t).pow(2), matrix)
second(lambda t: F.hardswish(t), matrix)
second(lambda t: F.elu(t), matrix)
second(lambda t: F.silu(t), matrix)
second(lambda t: t.abs(), matrix)
second(lambda t: t.clamp(min=0) ** 2, matrix)
second(lambda t: F.threshold(t, 0.1, 2.0), matrix)
F.cross_entropy(matrix, labels, label_smoothing=1.0)
F.cross_entropy(matrix, labels, label_smoothing=1.5)
nn.utils.clip_grad_norm_([], 1.0)
nn.utils.clip_grad_norm_(then(filled(nn.Linear(3, 2)), lambda m: call(m, matrix).sum().backward()).parameters(), 0.5)
nn.utils.clip_grad_norm_(then(filled(nn.Linear(3, 2)), lambda m: call(m, matrix).sum().backward()).parameters(), 0.5, inf)
nn.utils.clip_grad_norm_(then(filled(nn.Linear(3, 2)), lambda m: call(m, matrix * nan).sum().backward()).parameters(), 0.5, error_if_nonfinite=True)
nn.Linear(3, 2).wieght
nn.Linear(3, 2)(torch.ones(4))
nn.Linear(3, 2)(torch.ones(2, 3, dtype=torch.int64))
nn.Linear(3, 2)(torch.ones(2, 3, dtype=torch.float64))
nn.Embedding(3, 2)(torch.tensor([3]))
nn.Embedding(3, 2)(torch.tensor([1.0]))
F.one_hot(torch.tensor([3]), 2)
F.nll_loss(matrix, torch.tensor([0, 5]))
F.cross_entropy(matrix, torch.tensor([0.0, 1.0]))
F.binary_cross_entropy(matrix, unit)
optim.Adam(nn.Linear(3, 2).parameters(), lr=-1)
optim.Adam(nn.Linear(3, 2).parameters(), betas=(1.0, 0.9))
optim.SGD([], lr=0.1)
optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1, nesterov=True)
nn.Linear(3, 2).load_state_dict({"weight": torch.ones(2, 3)})
nn.Linear(3, 2).load_state_dict({"weight": torch.ones(2, 3), "bias": torch.ones(3)})
nn.Linear(3, 2).load_state_dict({"weight": torch.ones(2, 3), "other": torch.ones(3)}, strict=False)
data.random_split(range(5), [2, 2])
[len(p) for p in data.random_split(range(5), [0.5, 0.5])]
list(data.BatchSampler(range(5), 2, True))
list(data.DataLoader(range(5), batch_size=2))
list(data.DataLoader(range(5), batch_size=2, drop_last=True, shuffle=False))
list(data.DataLoader([{"a": 1, "b": [1, 2]}, {"a": 2, "b": [3, 4]}], batch_size=2))
list(data.DataLoader([{"a": 1}, {"b": 2}], batch_size=2))
list(data.DataLoader([torch.ones(2), torch.ones(3)], batch_size=2))
steps("Rprop", 3)
steps("Adam", 5, weight_decay=0.1, amsgrad=True)
steps("SGD", 5, lr=0.1, momentum=0.9, nesterov=True)
steps("NAdam", 4)
steps("RMSprop", 4, centered=True)
"""

GROUPS = {
    "passes": product(lines(PASSES), f=FUNCTIONS),
    "uses of layers": product(lines(USES), m=LAYERS),
    "nested data": product(lines(DATA), a=ELEMENTS, b=ELEMENTS),
    "memory of programs": lines(MEMORY),
    "numbers of NumPy": product(lines(NUMBERS), o="+ - * / ** % // < =="),
    "programs": lines(GENERAL),
    "large numbers": [*lines(LARGE), *lines(SQUARES)],
}
