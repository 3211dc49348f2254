"""Probes of gradients: of each function, at its edges, twice, after a change in place; of the modes and hooks."""

from __future__ import annotations

from probes.tables import lines, product

# Functions of any numbers, then of those between 0 and 1.
ANY = """abs atan asinh ceil cos cosh deg2rad erf erfc exp exp2 expm1 floor frac i0 nan_to_num neg positive rad2deg
 relu round sgn sigmoid sign sin sinc sinh square tan tanh trunc special.i0e special.i1 special.ndtr special.erfcx
 special.log_ndtr""".replace("\n", " ").split()
INSIDE = """acos asin atanh erfinv logit log log10 log1p log2 lgamma digamma reciprocal rsqrt sqrt special.entr
 special.ndtri""".replace("\n", " ").split()
ACTIVATIONS = """celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu silu
 softplus softshrink softsign tanhshrink""".replace("\n", " ").split()
REDUCTIONS = """sum mean prod amax amin max min median nanmedian var std logsumexp nansum nanmean norm quantile(0.3)
 mode(1)[0] cumsum(0) cumprod(0) logcumsumexp(1) cummax(1)[0] cummin(0)[0] sort(0)[0] sort(1,True)[0] topk(2)[0]
 kthvalue(2)[0] msort max(1)[0] min(0)[0] median(1)[0] amax(1) amin(0) aminmax(dim=0) var(0) std(1,keepdim=True) prod(1)
 mean((0,1)) sum(0,keepdim=True) logsumexp(1) norm(1) norm(3,dim=1) norm(inf) norm(-inf,dim=0) norm(0) norm(2,0)
 nansum(1) quantile(0.5,1) nanquantile(0.5) renorm(2,0,1.) cov corrcoef diff diff(dim=0)
 softmax(1) softmax(0) log_softmax(1) log_softmax(0) dist(other[:1])
 std(correction=0) var(1,correction=2)""".replace("\n", " ").split()
VIEWS = """t view(-1) reshape(3,-1) flatten permute(1,0) transpose(0,1) unsqueeze(1) squeeze expand(2,2,3) repeat(2,1)
 tile(2) narrow(1,0,2) select(0,1) chunk(2)[1] split(1)[0] unbind(1)[0] flip(0) roll(1,1) rot90 diagonal diag tril
 triu(1) unfold(1,2,1) repeat_interleave(2,0) contiguous clone double half() to(torch.float64) movedim(0,1) ravel
 expand(2,3) sum_to_size(1,3) T mT H""".replace("\n", " ").split()
INDICES = ("0", "-1", "(0,1)", "[0,0]", "mask", "rows", "(Ellipsis,0)", "(slice(None),[2,0,2])", "index", "(labels,labels)",
           "None", "slice(0,1)", "(slice(None),slice(None,None,2))", "([0,1],[1,1])", "~mask", "[]")
TWO = """
t + other
t - vector
t * other
t * scalar
t * t
t / other
other / t
1 / t
t ** 2
t ** 3
t ** 0.5
t ** -1
t ** 0
t ** other
positive ** t
2 ** t
0 ** t
t % other
t % 0.7
torch.fmod(t, other)
torch.fmod(other, t)
torch.remainder(other, t)
t // other
torch.maximum(t, other)
torch.minimum(t, t)
torch.maximum(t, t * 1)
torch.fmax(t, other)
torch.fmin(other, t)
torch.atan2(t, other)
torch.atan2(t, t)
torch.hypot(t, other)
torch.hypot(t, t * 0)
torch.logaddexp(t, other)
torch.logaddexp2(t, other)
torch.copysign(t, other)
torch.copysign(other, t)
torch.xlogy(t, positive)
torch.xlogy(positive, t)
torch.special.xlog1py(t, positive)
torch.lerp(t, other, 0.3)
torch.lerp(other, t, positive)
torch.lerp(other, positive, t)
torch.addcmul(t, other, t, value=2)
torch.addcdiv(t, other, positive)
torch.addcdiv(other, positive, t)
torch.where(t > 0, t, other)
torch.where(mask, other, t)
torch.where(t > 0, torch.sqrt(t), 0.0)
torch.where(t > 0, torch.log(t), t)
torch.clamp(t, -0.5, 0.5)
torch.clamp(t, 1, -1)
torch.clamp(t, min=0)
torch.clamp(t, other, positive)
torch.clamp(other, t, positive)
torch.clamp(t, max=t)
torch.clamp_min(t, 0.0)
torch.nan_to_num(t, 0.0, 1.0, -1.0)
torch.masked_fill(t, mask, 3.0)
t.masked_fill(~mask, scalar)
torch.masked_select(t, mask)
t.masked_scatter(mask, other)
other.masked_scatter(mask, t)
torch.heaviside(t, other)
torch.polygamma(1, t)
torch.polygamma(2, positive * t)
torch.mvlgamma(t.abs() + 3, 2)
torch.float_power(t, 2)
torch.ldexp(t, torch.tensor(2))
torch.round(t, decimals=1)
torch.logit(t, 0.1)
torch.cat([t, other, t])
torch.stack([t, other], 1)
torch.cat([t, a_float64])
torch.hstack([t, t])
torch.block_diag(t, other)
torch.outer(t[0], t[1])
torch.dot(t[0], t[1])
torch.kron(t, vector)
torch.cross(t, other, dim=1)
torch.mm(t, square)
torch.mm(t, t.t())
t @ vector
vector @ t.T
t @ batches.mT
torch.bmm(t.expand(2, 2, 3), batches.mT)
torch.mv(square, t[0])
torch.addmm(other, t, square, beta=2, alpha=3)
torch.addmm(t, other, square)
torch.addmv(t[:, 0], other, vector)
torch.baddbmm(t, batches[:, :2], square.expand(2, 3, 3))
torch.einsum("ij,kj->ik", t, other)
torch.einsum("ij,ij->", t, t)
torch.einsum("ij->j", t)
torch.tensordot(t, other, 2)
torch.inner(t, other)
torch.linalg.vector_norm(t, 2, dim=1)
torch.linalg.vector_norm(t, 1)
torch.linalg.vector_norm(t * 0)
torch.linalg.matrix_norm(t)
torch.linalg.norm(t, dim=0)
torch.det(t[:, :2])
torch.logdet(t[:, :2] @ t[:, :2].T)
torch.inverse(t[:, :2])
torch.linalg.solve(t[:, :2], other)
torch.linalg.cholesky(t[:, :2] @ t[:, :2].T)
torch.matrix_power(t[:, :2], 3)
torch.trace(t)
torch.linalg.svdvals(t)
torch.cdist(t, other)
torch.cdist(t, t)
torch.cdist(t, other, p=1)
torch.cdist(other, t, p=inf)
F.pdist(t)
F.pairwise_distance(t, other)
F.cosine_similarity(t, other)
F.cosine_similarity(t, t * 0)
F.normalize(t)
F.normalize(t * 0)
F.linear(t, square, vector)
F.linear(other, t)
F.linear(other, square, t[0])
F.bilinear(t, other, torch.ones(2, 3, 3))
F.embedding(labels % 2, t)
F.embedding(torch.tensor([0, 1, 1, 0]), t, padding_idx=0)
F.embedding_bag(torch.tensor([[0, 1], [1, 1]]), t)
F.embedding_bag(torch.tensor([0, 1, 1]), t, torch.tensor([0, 2]), mode="max")
F.layer_norm(t, (3,), vector, vector)
F.layer_norm(other, (3,), t[0], t[1])
F.rms_norm(t, (3,), vector)
F.group_norm(t, 3)
F.group_norm(t, 1, vector, vector)
F.batch_norm(t, None, None, training=True)
F.batch_norm(t, torch.zeros(3), torch.ones(3), vector, vector)
F.instance_norm(cube * t[..., None])
F.prelu(t, torch.tensor([0.3]))
F.prelu(other, t[0])
F.glu(torch.cat([t, other], 1))
F.softmax(t, 1, dtype=torch.float64)
F.softmin(t, 0)
F.hardtanh(t, -0.2, 0.2)
F.threshold(t, 0.1, 5.0)
F.softplus(t, 3.0, 1.0)
F.elu(t, 2.0)
F.gelu(t, approximate="tanh")
F.leaky_relu(t, 0.3)
F.rrelu(t)
F.dropout(t, 0.0)
F.dropout(t, 1.0)
F.pad(t, (1, 1))
F.pad(t, (-1, 2, 0, 1), value=3.0)
t.gather(1, targets)
t.scatter(1, targets, 1.0)
other.scatter(1, targets[:, :1], t)
other.scatter_add(1, targets, t)
torch.ones(2, 3).scatter_reduce(1, targets, t, "prod")
torch.ones(2, 3).scatter_reduce(1, targets, t, "amax")
torch.ones(2, 3).scatter_reduce(1, targets, t, "mean", include_self=False)
t.index_select(1, index)
t.index_add(0, labels % 2, other)
square.index_add(0, labels, t)
t.index_copy(0, torch.tensor([1]), other[:1])
t.index_fill(1, labels, 2.0)
t.index_put((labels % 2, labels), vector[:2])
t.take(index)
t.put(index, vector)
torch.take_along_dim(t, targets, 1)
torch.trapezoid(t)
torch.cumulative_trapezoid(t)
torch.diag_embed(t)
torch.meshgrid(t[0], t[1], indexing="ij")
torch.broadcast_to(t, (2, 2, 3))
torch.combinations(t[0])
torch.cartesian_prod(t[0], t[1])
torch.slice_scatter(t, other[:1], 0, 0, 1)
torch.select_scatter(t, vector, 0, 1)
torch.diagonal_scatter(t, vector[:2])
F.one_hot(labels, 3) * t
t.detach() * t
t.data * t
(t > 0) * t
t.sign() * t
t.long() * t
t.float()
torch.searchsorted(t, other)
torch.argmax(t, 1) * t[:, 0]
torch.unique(t) * 1
torch.histc(t) * 1
torch.bucketize(t, vector.sort()[0]) * t
"""
IN_PLACE = """
(lambda x: then(x, lambda t: t.add_(1)))(matrix.requires_grad_())
(lambda x: then(x[0], lambda t: t.add_(1)))(matrix.requires_grad_())
(lambda x: then(x.detach(), lambda t: t.add_(1)))(matrix.requires_grad_())
(lambda x: (inside(torch.no_grad(), lambda: x.add_(1)), x.is_leaf))(matrix.requires_grad_())
(lambda x: (setattr(x, "data", x.data * 2), x))(matrix.requires_grad_())
(lambda x: (x.data.mul_(3), x._version, x))(matrix.requires_grad_())
gradient(lambda t: (lambda u: (u[:, :2].t_().<f>_(vector[:2]), u)[1])(t * 2), matrix)
gradient(lambda t: (lambda u: (u[1].unsqueeze_(0).<f>_(vector), u)[1])(t * 2), matrix)
gradient(lambda t: (lambda u: (u[:, :2].transpose_(0, 1)[0].<f>_(vector[:2]), u)[1])(t * 2), matrix)
second(lambda t: (t * t).tanh().<f>_(2), matrix)
second(lambda t: (t * t).softmax(1).<f>_(2), matrix)
second(lambda t: F.gelu(t * t).<f>_(2), matrix)
second(lambda t: F.linear(t * t, square).<f>_(2), matrix)
second(lambda t: F.layer_norm(t * t, (3,)).<f>_(2), matrix)
gradient(lambda t: (t * 2).chunk(2)[1].t().<f>_(2), matrix)
gradient(lambda t: (t * 2).unbind(0)[0][1:].<f>_(2), matrix)
gradient(lambda t: (t * 2).split(1)[0].clone().<f>_(2), matrix)
(lambda p: (p.<f>_(2), p))(matrix.chunk(2)[1].t())
inside(torch.no_grad(), lambda: (matrix.requires_grad_() * 2).chunk(2)[1].<f>_(2))
gradient(lambda t: then(t * 2, lambda y: y.<f>_(2)), matrix)
gradient(lambda t: then(t.clone(), lambda y: y.<f>_(other.abs() + 1)), matrix)
gradient(lambda t: then(t * 1, lambda y: y[0].<f>_(3)), matrix)
gradient(lambda t: then(torch.zeros(2, 3), lambda y: y.<f>_(t)), matrix)
gradient(lambda t: then(torch.ones(2, 3), lambda y: y[:, 1].<f>_(t[:, 0])), matrix)
gradient(lambda t: (lambda y: (y[0], then(y, lambda z: z.<f>_(2)))[0])(t * 1), matrix)
gradient(lambda t: (lambda y: (lambda v: (then(y, lambda z: z.<f>_(2)), v)[1])(y[1]))(t * 1), matrix)
gradient(lambda t: (lambda y: (lambda v: (then(v, lambda z: z.<f>_(2)), y)[1])(y.view(-1)[1:3]))(t * 1), matrix)
gradient(lambda t: (lambda y: (lambda e: (y.<f>_(2), e)[1])(y.exp()))(t * 1), matrix)
gradient(lambda t: (lambda y: (lambda e: (e.<f>_(2), e)[1])(y.exp()))(t * 1), matrix)
gradient(lambda t: (lambda y: (lambda e: (y.<f>_(2), e)[1])(y * other))(t * 1), matrix)
gradient(lambda t: (lambda y: (lambda e: (y.detach().<f>_(2), e)[1])(y ** 2))(t * 1), matrix)
gradient(lambda t: (lambda y: (lambda e: (y.data.<f>_(2), e)[1])(y ** 2))(t * 1), matrix)
"""
IN_PLACE_UNARY = "exp_ relu_ sigmoid_ tanh_ sqrt_ abs_ neg_ reciprocal_ sin_ square_ log_ clamp_(-0.5,0.5) zero_ round_ t_ squeeze_ fill_diagonal_(2.) masked_fill_(mask,1.) tril_ cumsum_(0) requires_grad_ detach_ copy_(other) index_fill_(0,labels[1:],2.) erf_ floor_ rsqrt_ addcmul_(other,other) lerp_(other,0.5) clamp_min_(0) sub_(vector) pow_(2) index_add_(0,labels[1:],other[:1]) scatter_(1,targets,2.) copysign_(other) remainder_(0.7)".split()
AUTOGRAD = """
matrix.requires_grad
matrix.requires_grad_().is_leaf
(matrix.requires_grad_() * 2).is_leaf
(matrix.requires_grad_() * 2).grad
matrix.grad
matrix.requires_grad_().grad
(matrix.requires_grad_() > 0).requires_grad
matrix.requires_grad_().argmax().requires_grad
matrix.requires_grad_().detach().requires_grad
matrix.requires_grad_().data.requires_grad
matrix.requires_grad_().numpy()
matrix.requires_grad_().detach().numpy()
matrix.requires_grad_().tolist()
matrix.requires_grad_().sum().item()
float(matrix.requires_grad_().sum())
matrix.requires_grad_()[0].requires_grad_(False)
a_int64.requires_grad_()
mask.requires_grad_(False)
torch.ones(2, dtype=torch.int64, requires_grad=True)
matrix.backward()
matrix.sum().backward()
matrix.requires_grad_().backward()
matrix.requires_grad_().sum().backward(scalar)
matrix.requires_grad_().sum().backward(vector)
matrix.requires_grad_().backward(other)
matrix.requires_grad_().backward(other[:1])
matrix.requires_grad_().backward(other.double())
matrix.requires_grad_().sum().backward(retain_graph=True)
(lambda l: (l.backward(), l.backward()))(matrix.requires_grad_().exp().sum())
(lambda l: (l.backward(), l.backward()))(matrix.requires_grad_().sum())
(lambda l: (l.backward(), l.backward()))((matrix.requires_grad_() * 2).sum())
(lambda l: (l.backward(retain_graph=True), l.backward()))(matrix.requires_grad_().exp().sum())
(lambda x: (x.exp().sum().backward(), x.exp().sum().backward(), x.grad))(matrix.requires_grad_())
(lambda x: (x.sum().backward(), x.grad.zero_(), x.sum().backward(), x.grad))(matrix.requires_grad_())
(lambda x: (setattr(x, "grad", None), x.grad))(matrix.requires_grad_())
(lambda x: (setattr(x, "grad", other), x.sum().backward(), x.grad))(matrix.requires_grad_())
(lambda x: setattr(x, "grad", vector))(matrix.requires_grad_())
(lambda x: setattr(x, "grad", double_matrix))(matrix.requires_grad_())
(lambda x: setattr(x, "grad", 1))(matrix.requires_grad_())
(lambda x: (x.sum().backward(), x.grad.requires_grad))(matrix.requires_grad_())
(lambda x: (x.exp().sum().backward(create_graph=True), x.grad.requires_grad))(matrix.requires_grad_())
(lambda x: ((x ** 3).sum().backward(inputs=[x]), x.grad))(matrix.requires_grad_())
(lambda x, y: ((x * y).sum().backward(inputs=[x]), x.grad, y.grad))(matrix.requires_grad_(), other.requires_grad_())
(lambda x: ((x * 2).sum().backward(inputs=[x * 2])))(matrix.requires_grad_())
(lambda x: ((x * 2).sum().backward(inputs=[])))(matrix.requires_grad_())
(lambda x: (lambda y: (y.retain_grad(), y.exp().sum().backward(), y.grad))(x * 2))(matrix.requires_grad_())
(lambda x: (lambda y: (y.exp().sum().backward(), y.grad))(x * 2))(matrix.requires_grad_())
torch.autograd.grad(matrix.requires_grad_().sum(), matrix)
torch.autograd.grad(matrix.requires_grad_().exp().sum(), [matrix])
torch.autograd.grad(matrix.requires_grad_().exp(), matrix)
torch.autograd.grad(matrix.requires_grad_().exp(), matrix, other)
torch.autograd.grad(matrix.requires_grad_().exp(), matrix, vector)
torch.autograd.grad([matrix.requires_grad_().sum(), (matrix * 2).sum()], [matrix])
torch.autograd.grad(matrix.requires_grad_().sum(), [matrix, other.requires_grad_()])
torch.autograd.grad(matrix.requires_grad_().sum(), [matrix, other.requires_grad_()], allow_unused=True)
torch.autograd.grad(matrix.requires_grad_().sum(), [other.requires_grad_()], materialize_grads=True)
torch.autograd.grad(matrix.requires_grad_().sum(), other)
torch.autograd.grad(matrix.sum(), matrix)
torch.autograd.grad((matrix.requires_grad_() ** 3).sum(), matrix, create_graph=True)[0].requires_grad
torch.autograd.grad((matrix.requires_grad_() ** 2).sum(), matrix, create_graph=True)[0].grad_fn is None
torch.autograd.grad(matrix.requires_grad_().sum(), ())
torch.autograd.backward([matrix.requires_grad_().sum()])
torch.autograd.backward(matrix.requires_grad_() * 2, other)
torch.autograd.backward([matrix.requires_grad_() * 2, scalar.requires_grad_()], [other, None])
torch.autograd.backward([matrix.requires_grad_() * 2], [other, None])
(lambda x: (Cube.apply(x).sum().backward(), x.grad))(matrix.requires_grad_())
second(Cube.apply, matrix)
Cube.apply(matrix).requires_grad
Cube()(matrix)
inside(torch.no_grad(), lambda: Cube.apply(matrix.requires_grad_()).requires_grad)
inside(torch.no_grad(), lambda: (matrix.requires_grad_() * 2).requires_grad)
inside(torch.no_grad(), lambda: torch.ones(2, requires_grad=True).requires_grad)
inside(torch.no_grad(), lambda: nn.Linear(1, 1).weight.requires_grad)
inside(torch.no_grad(), lambda: inside(torch.enable_grad(), lambda: (matrix.requires_grad_() * 2).requires_grad))
inside(torch.enable_grad(), lambda: torch.is_grad_enabled())
inside(torch.set_grad_enabled(False), lambda: torch.is_grad_enabled())
inside(torch.set_grad_enabled(False), lambda: (matrix.requires_grad_() * 2).sum().backward())
inside(torch.inference_mode(), lambda: (torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
inside(torch.inference_mode(False), lambda: torch.is_grad_enabled())
inside(torch.inference_mode(), lambda: (matrix.requires_grad_() * 2).requires_grad)
torch.no_grad()(lambda: torch.is_grad_enabled())()
torch.no_grad(lambda: torch.is_grad_enabled())()
torch.enable_grad()(lambda: torch.is_grad_enabled())()
torch.inference_mode()(lambda: torch.is_grad_enabled())()
torch.set_grad_enabled(False)(lambda: torch.is_grad_enabled())()
[inside(torch.no_grad(), lambda: 1), torch.is_grad_enabled()]
[inside(contextlib.suppress(ValueError), lambda: inside(torch.no_grad(), lambda: int("a"))), torch.is_grad_enabled()]
list(torch.no_grad()(lambda: (torch.is_grad_enabled() for _ in range(2)))())
seen(lambda log: gradient(lambda t: then(t * 2, lambda y: y.register_hook(lambda g: log(g))), matrix))
seen(lambda log: gradient(lambda t: then(t * 2, lambda y: y.register_hook(lambda g: g * 10)), matrix))
seen(lambda log: gradient(lambda t: then(t * 2, lambda y: y.register_hook(lambda g: vector)), matrix))
seen(lambda log: gradient(lambda t: then(t * 2, lambda y: y.register_hook(lambda g: "a")), matrix))
seen(lambda log: gradient(lambda t: then(t * 2, lambda y: y.register_hook(lambda g: log(g)).remove()), matrix))
seen(lambda log: (lambda x: (x.register_hook(lambda g: log(g)), x.exp().sum().backward(), x.grad))(matrix.requires_grad_()))
seen(lambda log: (lambda x: (x.register_hook(lambda g: log(1)), x.register_hook(lambda g: log(2)), x.sum().backward()))(matrix.requires_grad_()))
seen(lambda log: (lambda x: (x.register_post_accumulate_grad_hook(lambda p: log(p.grad)), x.exp().sum().backward()))(matrix.requires_grad_()))
matrix.register_hook(print)
matrix.register_post_accumulate_grad_hook(print)
(matrix.requires_grad_() * 2).register_post_accumulate_grad_hook(print)
matrix.retain_grad()
matrix.requires_grad_().retain_grad()
(matrix.requires_grad_() * 2).retains_grad
torch.autograd.functional.jacobian(lambda t: t ** 2, vector)
torch.autograd.functional.jacobian(lambda a, b: a * b, (vector, vector))
torch.autograd.functional.jacobian(lambda t: t.sum(), matrix)
torch.autograd.functional.jacobian(lambda t: (t, t * 2), scalar)
torch.autograd.functional.hessian(lambda t: (t ** 3).sum(), vector)
torch.autograd.functional.hessian(lambda t: t ** 3, vector)
torch.autograd.functional.vjp(lambda t: t ** 2, vector, vector)
torch.autograd.functional.vjp(lambda t: t ** 2, vector)
torch.autograd.functional.jvp(lambda t: t ** 2, vector, vector)
torch.autograd.functional.hvp(lambda t: (t ** 3).sum(), vector, vector)
torch.autograd.functional.vhp(lambda t: (t ** 3).sum(), vector, vector)
torch.autograd.gradcheck(lambda t: t ** 2, (double_matrix.requires_grad_(),))
torch.autograd.gradcheck(lambda t: t.detach() * t, (double_matrix.requires_grad_(),))
torch.autograd.gradgradcheck(lambda t: t ** 3, (double_matrix.requires_grad_(),))
inside(torch.autograd.detect_anomaly(), lambda: gradient(torch.sqrt, torch.tensor([-1.0])))
inside(torch.autograd.set_detect_anomaly(True), lambda: gradient(torch.exp, vector))
(matrix.requires_grad_() * 2).grad_fn.name()
(matrix.requires_grad_().exp()).grad_fn.name()
(matrix.requires_grad_() @ square).grad_fn.name()
F.relu(matrix.requires_grad_()).grad_fn.name()
matrix.requires_grad_().sum().grad_fn.name()
matrix.requires_grad_().view(-1).grad_fn.name()
(matrix.requires_grad_() * 2).grad_fn.next_functions[0][0].name()
(matrix.requires_grad_() * 2)._version
(lambda t: (t.add_(1), t._version))(matrix)
(lambda t: (t[0].zero_(), t._version))(matrix)
(lambda t: (t.detach().zero_(), t._version))(matrix)
(lambda t: (t.numpy().fill(0), t, t._version))(matrix)
(lambda x: (x.data.zero_(), x.sum().backward(), x.grad))(matrix.requires_grad_())
torch.utils.checkpoint.checkpoint(lambda t: t.exp(), matrix.requires_grad_(), use_reentrant=False)
gradient(lambda t: torch.utils.checkpoint.checkpoint(lambda u: u.exp(), t, use_reentrant=False), matrix)
copy.deepcopy(matrix.requires_grad_() * 2)
copy.deepcopy(matrix.requires_grad_())
pickled(matrix.requires_grad_())
(lambda x: (x.sum().backward(), copy.deepcopy(x).grad))(matrix.requires_grad_())
matrix.requires_grad_().detach_().requires_grad
(matrix.requires_grad_() * 2).detach_().requires_grad
matrix.requires_grad_().view(-1).detach_()
matrix.requires_grad_().clone().requires_grad
matrix.requires_grad_().to(torch.float64).requires_grad
matrix.requires_grad_().to(torch.int64).requires_grad
matrix.requires_grad_().new_zeros(2).requires_grad
torch.zeros_like(matrix.requires_grad_()).requires_grad
torch.tensor(matrix.requires_grad_())
torch.as_tensor(matrix.requires_grad_()).requires_grad
torch.cat([matrix.requires_grad_(), other]).requires_grad
torch.stack([scalar.requires_grad_(), scalar]).requires_grad
torch.equal(matrix.requires_grad_(), matrix)
torch.save(matrix.requires_grad_() * 2, io.BytesIO())
nn.Parameter(matrix).requires_grad
nn.Parameter(matrix, requires_grad=False).requires_grad
nn.Parameter(a_int64)
nn.Parameter(a_int64, requires_grad=False).dtype
nn.Parameter(matrix.requires_grad_() * 2).is_leaf
nn.Parameter(1.0)
isinstance(nn.Parameter(matrix) * 2, nn.Parameter)
"""


def _called(names: list[str]) -> list[str]:
    """Method calls, with empty parentheses if no arguments are given."""
    return [name if "(" in name or name in ("T", "mT", "H") else f"{name}()" for name in names]


_ANY = [f"torch.{f}(t)" for f in ANY] + [f"F.{f}(t)" for f in ACTIVATIONS]
_INSIDE = [f"torch.{f}(t)" for f in INSIDE]
_SHAPED = [f"t.{f}" for f in _called([*REDUCTIONS, *VIEWS])] + [f"t[{i}]" for i in INDICES] + lines(TWO)

GROUPS = {
    "gradients of each number": [
        *product("gradient(lambda t: <f>, <x>)", f=_ANY,
                 x="matrix edges scalar empty transposed strided double_matrix half_matrix torch.zeros(2)"),
        *product("gradient(lambda t: <f>, <x>)", f=_INSIDE, x="unit edges scalar empty double_matrix.sigmoid() "
                 "torch.tensor([0.,1.,-1.])"),
    ],
    "gradients of tensors": [
        *product("gradient(lambda t: <f>, matrix)", f=_SHAPED),
        *product("gradient(lambda t: <f>, <x>)", f=[f"t.{f}" for f in _called(REDUCTIONS)],
                 x="torch.zeros(2,3) tied holes scalar row transposed empty double_matrix"),
        *product("gradient(lambda t: <f>, <x>)", f=lines(TWO), x="torch.zeros(2,3) tied[:2] strided"),
    ],
    "second derivatives": product(
        "second(lambda t: <f>, <x>)", f=[*_ANY, *_SHAPED], x="matrix"
    ) + product("second(lambda t: <f>, unit)", f=_INSIDE) + product(
        "second(lambda t: <f>, torch.zeros(2, 3))", f=[*_ANY, *[f"t.{f}" for f in _called(REDUCTIONS)]]
    ),
    "changes in place after a function": product(
        "<c>(lambda t: <f>, unit)", c="out_changed in_changed", f=[*_ANY, *_INSIDE, *_SHAPED]
    ),
    "gradients of changes in place": [
        *product(lines(IN_PLACE), f="add mul div pow sub copy"),
        *product("gradient(lambda t: then(t * 1, lambda y: y.<f>), unit)", f=_called(IN_PLACE_UNARY)),
        *product("gradient(lambda t: then(t.exp(), lambda y: y.<f>), unit)", f=_called(IN_PLACE_UNARY)),
        *product("gradient(lambda t: then(t * 1, lambda y: y[:, 1:].<f>), unit)", f=_called(IN_PLACE_UNARY[:13])),
        *product("unit.requires_grad_().<f>", f=_called(IN_PLACE_UNARY)),
        *product("(lambda x: (inside(torch.no_grad(), lambda: x.<f>), x.requires_grad))(unit.requires_grad_())",
                 f=_called(IN_PLACE_UNARY)),
        *product("gradient(lambda t: setting(t * 1, <i>, <v>), matrix)", i=INDICES, v="2.0 scalar"),
        *product("gradient(lambda t: setting(torch.zeros(2, 3), <i>, t[0, 0]), matrix)", i=INDICES),
    ],
    "autograd": lines(AUTOGRAD),
}  # fmt: skip
