"""Probes of losses, layers, containers, state dicts and initializers."""

from __future__ import annotations

from probes.tables import lines, product

CALLED = """
nn.HingeEmbeddingLoss(<o>)(matrix, other.sign())
nn.MarginRankingLoss(<o>)(matrix, other, positive.sign())
nn.MultiLabelMarginLoss(<o>)(matrix, torch.tensor([[0, -1, 1], [2, 1, -1]]))
nn.MultiLabelSoftMarginLoss(<o>)(matrix, mask.float())
nn.PoissonNLLLoss(<o>)(matrix, positive)
nn.SoftMarginLoss(<o>)(matrix, other.sign())
nn.TripletMarginWithDistanceLoss(<o>)(matrix, other, unit)
nn.TripletMarginLoss(<o>)(matrix, other, unit)
nn.CosineEmbeddingLoss(<o>)(matrix, other, signs)
nn.MultiMarginLoss(<o>)(matrix, labels)
nn.BCELoss(<o>)(unit, unit)
nn.BCEWithLogitsLoss(<o>)(matrix, unit)
nn.CrossEntropyLoss(<o>)(matrix, labels)
nn.NLLLoss(<o>)(matrix, labels)
nn.KLDivLoss(<o>)(matrix, unit)
nn.L1Loss(<o>)(matrix, other)
nn.MSELoss(<o>)(matrix, other)
nn.HuberLoss(<o>)(matrix, other)
nn.SmoothL1Loss(<o>)(matrix, other)
nn.GaussianNLLLoss(<o>)(matrix, other, positive)
"""
CALL_OPTIONS = """
reduction="none"
reduction="sum"
reduction="mean"
reduction=None
margin=0.5
size_average=True, reduce=True
weight=None
unknown=1
"none"
"""
PAIRED = """
F.mse_loss(<x>, <y>, reduction="<r>")
F.l1_loss(<x>, <y>, reduction="<r>")
F.smooth_l1_loss(<x>, <y>, reduction="<r>")
F.smooth_l1_loss(<x>, <y>, reduction="<r>", beta=0.5)
F.huber_loss(<x>, <y>, reduction="<r>", delta=0.5)
F.binary_cross_entropy_with_logits(<x>, <y>, reduction="<r>")
F.binary_cross_entropy(torch.sigmoid(<x>), torch.sigmoid(<y>), reduction="<r>")
F.kl_div(<x>, torch.sigmoid(<y>), reduction="<r>")
F.kl_div(<x>, <y>, reduction="<r>", log_target=True)
F.poisson_nll_loss(<x>, <y>, reduction="<r>")
F.poisson_nll_loss(<x>, torch.exp(<y>), log_input=False, full=True, reduction="<r>")
F.gaussian_nll_loss(<x>, <y>, torch.ones_like(<x>), reduction="<r>")
F.gaussian_nll_loss(<x>, <y>, torch.exp(<x>), full=True, reduction="<r>")
F.soft_margin_loss(<x>, torch.sign(<y>), reduction="<r>")
F.hinge_embedding_loss(<x>, torch.sign(<y>), margin=0.5, reduction="<r>")
F.margin_ranking_loss(<x>, <y>, torch.sign(<y>), margin=0.1, reduction="<r>")
F.multilabel_soft_margin_loss(<x>, torch.sigmoid(<y>), reduction="<r>")
F.cross_entropy(<x>, torch.softmax(<y>, -1), reduction="<r>")
F.cosine_embedding_loss(<x>, <y>, torch.ones(2), reduction="<r>")
F.triplet_margin_loss(<x>, <y>, <x> * 0.5, reduction="<r>")
F.triplet_margin_loss(<x>, <y>, <y> + 1, swap=True, p=1, reduction="<r>")
"""
CLASSES = """
F.cross_entropy(<x>, <y>, <o>)
F.nll_loss(<x>, <y>, <o>)
F.multi_margin_loss(<x>, <y>, <o>)
"""
CLASS_OPTIONS = """
reduction="mean"
reduction="sum"
reduction="none"
reduction="other"
weight=torch.tensor([1.0, 2.0, 0.5])
weight=torch.tensor([0.0, 0.0, 0.0])
weight=torch.ones(2)
weight=torch.tensor([1.0, 2.0, 0.5]), reduction="sum"
weight=torch.tensor([1.0, 2.0, 0.5]), reduction="none"
ignore_index=0
ignore_index=0, reduction="none"
ignore_index=-1
label_smoothing=0.1
label_smoothing=0.1, weight=torch.tensor([1.0, 2.0, 0.5])
label_smoothing=1.0, ignore_index=2
label_smoothing=1.5
size_average=False
reduce=False
p=2
margin=0.5
"""
LABELS = """
labels
torch.tensor([1, 1])
torch.tensor([2, -100])
torch.tensor([-100, -100])
torch.tensor([0, 3])
torch.tensor([0, -1])
labels.int()
labels.float()
labels.to(torch.uint8)
labels[:1]
labels[None]
label
classes
torch.tensor([], dtype=torch.int64)
torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
torch.tensor([[0.2, 0.3, 0.5]])
"""
MORE_LOSSES = """
F.multilabel_margin_loss(<x>, torch.tensor([[0, -1, 1], [2, 1, -1]]))
F.multilabel_margin_loss(<x>, torch.tensor([[0, -1, 1], [2, 1, -1]]), reduction="none")
F.multilabel_margin_loss(<x>, torch.tensor([[0, 5, 1], [2, 1, -1]]))
F.binary_cross_entropy_with_logits(<x>, unit, weight=vector.abs())
F.binary_cross_entropy_with_logits(<x>, unit, pos_weight=vector.abs())
F.binary_cross_entropy_with_logits(<x>, unit, pos_weight=torch.ones(4))
F.binary_cross_entropy_with_logits(<x>, unit, weight=row.abs(), pos_weight=torch.tensor(2.0), reduction="none")
F.binary_cross_entropy(<x>.sigmoid(), unit, weight=vector.abs())
F.binary_cross_entropy(<x>, unit)
F.binary_cross_entropy(torch.zeros(2, 3), unit)
F.binary_cross_entropy(torch.ones(2, 3), torch.zeros(2, 3))
F.binary_cross_entropy(<x>.sigmoid(), a_int64)
F.binary_cross_entropy_with_logits(<x>, mask)
F.mse_loss(<x>, unit, weight=vector.abs())
F.mse_loss(<x>, unit, weight=positive)
F.l1_loss(<x>, unit, weight=positive, reduction="sum")
F.huber_loss(<x>, unit, delta=0)
F.huber_loss(<x>, unit, delta=-1.0)
F.smooth_l1_loss(<x>, unit, beta=0)
F.smooth_l1_loss(<x>, unit, beta=-1.0)
F.gaussian_nll_loss(<x>, unit, torch.zeros(2, 3))
F.gaussian_nll_loss(<x>, unit, -torch.ones(2, 3))
F.gaussian_nll_loss(<x>, unit, column.abs())
F.gaussian_nll_loss(<x>, unit, column.abs()[:, 0])
F.gaussian_nll_loss(<x>, unit, 2.0)
F.kl_div(<x>, unit, reduction="batchmean")
F.kl_div(<x>, torch.zeros(2, 3), reduction="sum")
F.kl_div(<x>, -unit, reduction="sum")
F.poisson_nll_loss(<x>, torch.zeros(2, 3), full=True)
F.cosine_embedding_loss(<x>, unit, signs)
F.cosine_embedding_loss(<x>, unit, signs, margin=0.5, reduction="none")
F.cosine_embedding_loss(<x>, unit, torch.ones(3))
F.cosine_embedding_loss(vector, <x>[0], torch.tensor(1))
F.margin_ranking_loss(<x>, unit, torch.ones(3))
F.triplet_margin_loss(<x>, unit, other, margin=2.0, p=3, eps=0.1)
F.triplet_margin_loss(<x>, unit, other, margin=-1.0)
F.triplet_margin_loss(<x>, unit, vector)
F.triplet_margin_with_distance_loss(<x>, unit, other, distance_function=lambda a, b: (a - b).abs().sum(1))
F.hinge_embedding_loss(<x>, unit)
F.cross_entropy(<x>, labels, label_smoothing=-0.1)
F.cross_entropy(<x>, labels, weight=torch.ones(3).double())
F.nll_loss(<x>, labels, weight=torch.ones(3).half())
F.cross_entropy(<x>[0], label)
F.cross_entropy(<x>, unit / unit.sum(1, keepdim=True), label_smoothing=0.2, weight=vector.abs())
F.cross_entropy(<x>[:, :, None], labels[:, None])
F.cross_entropy(cube * <x>[:, :, None], torch.zeros(2, 4, dtype=torch.int64))
F.cross_entropy(cube * <x>[:, :, None], torch.zeros(2, 4, dtype=torch.int64), reduction="none")
F.nll_loss(cube * <x>[:, :, None], torch.zeros(2, 4, dtype=torch.int64))
F.nll_loss(<x>[0], label)
"""
LAYERS = """
nn.Linear(3, 2)
nn.Linear(3, 2, bias=False)
nn.Linear(3, 2, dtype=torch.float64)
nn.Bilinear(3, 3, 2)
nn.Identity()
nn.Flatten()
nn.Flatten(0)
nn.Unflatten(1, (3, 1))
nn.BatchNorm1d(3)
nn.BatchNorm1d(3, affine=False)
nn.BatchNorm1d(3, track_running_stats=False)
nn.BatchNorm1d(3, momentum=None)
nn.BatchNorm1d(3, eps=0.1, momentum=0.5)
nn.BatchNorm1d(4)
nn.LayerNorm(3)
nn.LayerNorm(3, elementwise_affine=False)
nn.LayerNorm(3, bias=False)
nn.LayerNorm((2, 3))
nn.LayerNorm(4)
nn.RMSNorm(3)
nn.RMSNorm(3, eps=0.1, elementwise_affine=False)
nn.GroupNorm(3, 3)
nn.GroupNorm(1, 3, affine=False)
nn.InstanceNorm1d(3)
nn.InstanceNorm1d(3, affine=True, track_running_stats=True)
nn.Dropout(0.0)
nn.Dropout(1.0)
nn.AlphaDropout(0.0)
nn.Dropout1d(0.0)
nn.FeatureAlphaDropout(0.0)
nn.ReLU()
nn.ReLU(inplace=True)
nn.ReLU6()
nn.GELU()
nn.GELU("tanh")
nn.ELU(0.5)
nn.CELU(2.0)
nn.SELU()
nn.SiLU()
nn.Mish()
nn.Sigmoid()
nn.Tanh()
nn.LogSigmoid()
nn.Hardtanh()
nn.Hardtanh(-0.5, 0.25)
nn.Hardsigmoid()
nn.Hardswish()
nn.Hardshrink(0.3)
nn.Softshrink(0.3)
nn.Tanhshrink()
nn.Softsign()
nn.Softplus()
nn.Softplus(2, 1)
nn.LeakyReLU(0.2)
nn.PReLU()
nn.PReLU(3)
nn.PReLU(2)
nn.RReLU(0.25, 0.25)
nn.Threshold(0.1, 2.0)
nn.GLU(0)
nn.Softmax()
nn.Softmax(1)
nn.Softmax(-1)
nn.LogSoftmax(1)
nn.Softmin(1)
nn.CosineSimilarity()
nn.PairwiseDistance()
nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())
nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2), nn.Softmax(-1))
nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Dropout(0.0))
nn.Sequential()
nn.Sequential(OrderedDict(a=nn.Linear(3, 2), b=nn.Sigmoid()))
"""
LAYER_INPUTS = "matrix row empty vector cube tall transposed double_matrix half_matrix a_int64 scalar batches edges[5:8] nothing".split()
EMBEDDINGS = """
filled(nn.Embedding(4, 3))(<i>)
ran(filled(nn.Embedding(4, 3, padding_idx=1)), <i>)
ran(filled(nn.Embedding(4, 3, max_norm=1.0)), <i>)
ran(filled(nn.Embedding(4, 3, scale_grad_by_freq=True)), <i>)
ran(filled(nn.EmbeddingBag(4, 3)), <i>)
ran(filled(nn.EmbeddingBag(4, 3, mode="sum")), <i>)
ran(filled(nn.EmbeddingBag(4, 3, mode="max", padding_idx=0)), <i>)
ran(filled(nn.EmbeddingBag(4, 3)), <i>, torch.tensor([0, 1]))
nn.Embedding.from_pretrained(tall)(<i>)
F.embedding(<i>, tall)
F.embedding(<i>, tall, padding_idx=-1)
F.embedding_bag(<i>, tall)
F.one_hot(<i>)
F.one_hot(<i>, 4)
F.one_hot(<i>, num_classes=2)
"""
EMBEDDED = """
index
index.int()
labels[None]
targets
label
torch.tensor([4])
torch.tensor([-1])
torch.tensor([5])
matrix
mask
a_uint8
torch.tensor([[]], dtype=torch.int64)
torch.tensor([0, 3, 3])
"""
WRONG = """
nn.Linear(3, "a")
nn.Linear(3)
nn.Linear(-1, 2)
nn.Linear(0, 2).weight.shape
nn.Linear(3, 2, bias=True, device="cuda")
nn.Linear(2.5, 1)
nn.Dropout(-0.1)
nn.Dropout(1.5)
nn.BatchNorm1d(0)(torch.ones(2, 0))
nn.GroupNorm(2, 3)
nn.LayerNorm([])(matrix)
nn.Embedding(3, 2, padding_idx=3)
nn.Embedding(3, 2, padding_idx=-4)
nn.Embedding(3, 2, padding_idx=-1).padding_idx
nn.Embedding(0, 2).weight.shape
nn.EmbeddingBag(3, 2, mode="other")
nn.Hardtanh(1, 0)
nn.RReLU(0.5, 0.1)(matrix)
nn.Softshrink(-1.0)(matrix)
nn.CrossEntropyLoss(reduction="other")(matrix, labels)
nn.MSELoss(reduction="other")(matrix, other)
nn.MSELoss(size_average=False)(matrix, other)
nn.L1Loss(reduce=False)(matrix, other)
nn.HuberLoss(delta=-1)
nn.SmoothL1Loss(beta=-1)(matrix, other)
nn.KLDivLoss(reduction="batchmean")(matrix, unit)
nn.GaussianNLLLoss(eps=0)(matrix, other, unit)
nn.BCELoss()(matrix, unit)
nn.BCELoss()(unit, matrix)
nn.BCELoss(weight=vector.abs())(unit, unit)
nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))(matrix, unit)
nn.CrossEntropyLoss(weight=[1, 2, 3])
nn.CrossEntropyLoss(weight=torch.ones(3), ignore_index=1).ignore_index
nn.NLLLoss()(matrix.log_softmax(1), labels)
nn.CosineEmbeddingLoss()(matrix, other, signs)
nn.TripletMarginLoss()(matrix, other, unit)
nn.TripletMarginLoss(margin=-1)
nn.MultiMarginLoss(p=3)(matrix, labels)
nn.MultiMarginLoss(weight=torch.ones(3, 1))
nn.Sequential(1)
nn.Sequential("a")
nn.Sequential(nn.ReLU)(matrix)
nn.Sequential(nn.ReLU(), None)(matrix)
nn.Sequential(nn.ReLU(), nn.Tanh())[1]
nn.Sequential(nn.ReLU(), nn.Tanh())[-3]
nn.Sequential(nn.ReLU(), nn.Tanh())[5]
nn.Sequential(nn.ReLU(), nn.Tanh())[0:1]
len(nn.Sequential(nn.ReLU(), nn.Tanh()))
nn.Sequential(nn.ReLU()) + nn.Sequential(nn.Tanh())
nn.Sequential(nn.ReLU()) * 2
then(nn.Sequential(nn.ReLU()), lambda m: m.append(nn.Tanh()))
then(nn.Sequential(nn.ReLU()), lambda m: m.insert(0, nn.Tanh()))
then(nn.Sequential(nn.ReLU()), lambda m: m.insert(5, nn.Tanh()))
then(nn.Sequential(nn.ReLU(), nn.Tanh()), lambda m: m.pop(0))
then(nn.Sequential(nn.ReLU(), nn.Tanh()), lambda m: m.__delitem__(0))
then(nn.Sequential(nn.ReLU()), lambda m: m.add_module("x", nn.Tanh()))
then(nn.Sequential(nn.ReLU()), lambda m: m.add_module("a.b", nn.Tanh()))
then(nn.Sequential(nn.ReLU()), lambda m: m.add_module("", nn.Tanh()))
then(nn.Sequential(nn.ReLU()), lambda m: m.add_module("forward", nn.Tanh()))
then(nn.Sequential(nn.ReLU()), lambda m: m.add_module("x", 1))
then(nn.Sequential(nn.ReLU()), lambda m: m.extend([nn.Tanh()]))
nn.ModuleList([nn.ReLU(), nn.Tanh()])[1:]
nn.ModuleList([nn.ReLU()])(matrix)
nn.ModuleList([nn.ReLU()]) + [nn.Tanh()]
nn.ModuleList([1])
then(nn.ModuleList(), lambda m: m.append(nn.ReLU()), lambda m: m.insert(0, nn.Tanh()))
then(nn.ModuleList([nn.ReLU()]), lambda m: m.extend([nn.Tanh()]))
nn.ModuleDict({"a": nn.ReLU()})["a"]
nn.ModuleDict({"a": nn.ReLU()})["b"]
"a" in nn.ModuleDict({"a": nn.ReLU()})
list(nn.ModuleDict({"a": nn.ReLU()}).items())
then(nn.ModuleDict({"a": nn.ReLU()}), lambda m: m.update({"b": nn.Tanh()}))
nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()}).pop("a")
nn.ParameterList([nn.Parameter(vector)])[0]
nn.ParameterList([vector])[0]
nn.ParameterDict({"a": nn.Parameter(vector)})["a"]
len(nn.ParameterList([nn.Parameter(vector)] * 2))
nn.Linear(3, 2)(matrix, matrix)
nn.Linear(3, 2)()
nn.Linear(3, 2)([1.0, 2.0, 3.0])
nn.Linear(3, 2)(None)
nn.Linear(3, 2)(matrix.numpy())
nn.Module()(matrix)
nn.Module().forward
nn.Linear(3, 2).nothing
nn.Linear(3, 2).weight.shape
nn.Linear(3, 2).extra_repr()
setattr(nn.Linear(3, 2), "weight", matrix)
setattr(nn.Linear(3, 2), "weight", None)
(lambda m: (setattr(m, "weight", None), list(m.state_dict())))(nn.Linear(3, 2))
(lambda m: (setattr(m, "weight", nn.Parameter(square)), m.weight.shape))(nn.Linear(3, 2))
(lambda m: (setattr(m, "extra", nn.Linear(1, 1)), [n for n, _ in m.named_parameters()]))(nn.Linear(3, 2))
(lambda m: (delattr(m, "bias"), [n for n, _ in m.named_parameters()]))(nn.Linear(3, 2))
delattr(nn.Linear(3, 2), "other")
(lambda m: (m.register_buffer("b", vector), m.b, list(m.state_dict())))(nn.Linear(3, 2))
(lambda m: (m.register_buffer("b", vector, persistent=False), list(m.state_dict())))(nn.Linear(3, 2))
nn.Linear(3, 2).register_buffer("weight", vector)
nn.Linear(3, 2).register_buffer("a.b", vector)
nn.Linear(3, 2).register_buffer("b", 1)
nn.Linear(3, 2).register_buffer("", vector)
nn.Linear(3, 2).register_parameter("p", vector)
nn.Linear(3, 2).register_parameter("p", nn.Parameter(vector) * 2)
nn.Linear(3, 2).register_parameter("forward", nn.Parameter(vector))
(lambda m: (m.register_parameter("p", None), m.p))(nn.Linear(3, 2))
list(network().children())[0]
network().set_submodule("1", nn.Identity())
then(network(), lambda m: m.set_submodule("1", nn.Identity()))
then(network(), lambda m: m.set_submodule("9", nn.Identity()))
network().get_extra_state()
network().set_extra_state(1)
network().to_empty(device="cpu")[0].weight.shape
then(network(), lambda m: m.register_module("x", nn.ReLU()))
nn.Buffer(vector)
(lambda m: (setattr(m, "b", nn.Buffer(vector)), list(m.state_dict())))(nn.Linear(1, 1))
(lambda m: (setattr(m, "b", nn.Buffer(vector, persistent=False)), list(m.state_dict())))(nn.Linear(1, 1))
nn.Dropout2d(0.0)(cube)
nn.Dropout3d(0.5).eval()(cube)
nn.Softmax2d()(cube)
nn.Softmax2d()(matrix)
nn.DataParallel(filled(nn.Linear(3, 2)))(matrix)
F.dropout1d(cube, 0.0)
F.dropout2d(cube, 1.0)
F.alpha_dropout(matrix, 0.5, False)
F.feature_alpha_dropout(cube, 0.0, True)
F.gumbel_softmax(matrix, hard=True).sum(1)
F.gumbel_softmax(matrix).shape
F.elu_(matrix)
F.celu_(matrix)
F.selu_(matrix)
F.hardtanh_(matrix)
F.leaky_relu_(matrix, 0.5)
F.threshold_(matrix, 0.5, 1.0)
nn.utils.fuse_linear_bn_weights(square, vector, vector, positive[0], 1e-5, vector, vector)
nn.utils.parametrize.is_parametrized(nn.Linear(1, 1))
nn.utils.parametrize.is_parametrized(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
list(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)).state_dict())
nn.utils.parametrizations.weight_norm(filled(nn.Linear(3, 2)))(matrix)
nn.utils.parametrizations.weight_norm(filled(nn.Linear(3, 2))).weight
nn.utils.parametrize.remove_parametrizations(nn.utils.parametrizations.weight_norm(filled(nn.Linear(3, 2))), "weight").weight
nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)).weight.det().abs()
nn.utils.parametrizations.weight_norm(nn.Linear(3, 2), "nothing")
(lambda m: (nn.utils.parametrize.register_parametrization(m, "weight", nn.Softplus()), m.weight))(filled(nn.Linear(3, 2)))
(lambda m: (nn.utils.parametrize.register_parametrization(m, "weight", nn.Softplus()), list(m.state_dict()), m))(filled(nn.Linear(3, 2)))
(lambda m: nn.utils.parametrize.register_parametrization(m, "nothing", nn.Softplus()))(nn.Linear(3, 2))
(lambda m: (nn.utils.parametrize.register_parametrization(m, "weight", nn.Softplus()), ran(m, matrix)))(filled(nn.Linear(3, 2)))
type(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))).__name__
nn.utils.spectral_norm(nn.Linear(3, 2)).weight.shape
list(nn.utils.spectral_norm(nn.Linear(3, 2)).state_dict())
network().get_parameter("0.weight").shape
network().get_parameter("0.nothing")
network().get_submodule("1")
network().get_submodule("9")
network().get_submodule("")
network().get_buffer("1.running_mean")
[n for n, _ in network().named_modules()]
[n for n, _ in network().named_parameters()]
[n for n, _ in network().named_parameters(prefix="net")]
[n for n, _ in network().named_parameters(recurse=False)]
[n for n, _ in network().named_buffers()]
[n for n, _ in network().named_children()]
len(list(network().modules()))
(lambda m: [n for n, _ in nn.ModuleList([m, m]).named_parameters()])(nn.Linear(1, 1))
(lambda m: [n for n, _ in nn.ModuleList([m, m]).named_parameters(remove_duplicate=False)])(nn.Linear(1, 1))
(lambda m: [n for n, _ in nn.ModuleList([m, m]).named_modules(remove_duplicate=False)])(nn.Linear(1, 1))
network().train(False).training
network().train("yes")
network().eval()[1].training
network().double()[0].weight.dtype
network().half()[1].running_mean.dtype
network().to(torch.float64)[1].num_batches_tracked.dtype
network().to(torch.int64)
network().to("cpu")[0].weight.device
network().to("cuda")
network().cuda()
network().cpu()[0].weight.dtype
network().requires_grad_(False)[0].weight.requires_grad
network().zero_grad()
(lambda m: (m(tall).sum().backward(), m.zero_grad(), m[0].weight.grad))(network())
(lambda m: (m(tall).sum().backward(), m.zero_grad(set_to_none=False), m[0].weight.grad))(network())
network().apply(lambda m: m.requires_grad_(False))[0].weight.requires_grad
network().apply(1)
network().share_memory()[0].weight.is_shared()
network().type(torch.float64)[0].weight.dtype
network().float()(double_matrix)
network().double()(double_matrix).dtype
network()(torch.ones(1, 3))
network().eval()(torch.ones(1, 3))
network()(torch.ones(2, 4))
network()(torch.ones(3))
network()(torch.zeros(0, 3))
network().eval()(torch.zeros(0, 3))
repr(network())
repr(nn.ModuleList([nn.ReLU()] * 3))
repr(nn.ModuleDict({"a": nn.ReLU()}))
repr(nn.Sequential())
network()._get_name()
copy.deepcopy(network())[0].weight
pickled(network())[0].weight
nn.utils.parameters_to_vector(network().parameters())
nn.utils.parameters_to_vector([])
nn.utils.vector_to_parameters(vector, nn.Linear(3, 2).parameters())
nn.utils.fuse_linear_bn_eval(filled(nn.Linear(3, 2)).eval(), filled(nn.BatchNorm1d(2)).eval())(matrix)
nn.utils.fuse_linear_bn_eval(nn.Linear(3, 2), nn.BatchNorm1d(2))
nn.utils.skip_init(nn.Linear, 3, 2).weight.shape
nn.LazyLinear(2)(matrix).shape
(lambda m: (m(matrix).shape, m.in_features, type(m).__name__))(nn.LazyLinear(2))
nn.LazyLinear(2).weight.shape
list(nn.LazyLinear(2).parameters())[0].numel()
repr(nn.LazyLinear(2))
filled(nn.utils.weight_norm(nn.Linear(3, 2)))(matrix)
[n for n, _ in nn.utils.weight_norm(nn.Linear(3, 2)).named_parameters()]
[n for n, _ in nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)).named_parameters()]
nn.utils.remove_weight_norm(nn.utils.weight_norm(filled(nn.Linear(3, 2)))).weight
nn.utils.remove_weight_norm(nn.Linear(3, 2))
"""
HOOKS = """
seen(lambda log: (lambda m: (m.register_forward_hook(lambda m, a, o: log(o)), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_hook(lambda m, a, o: o * 10), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_pre_hook(lambda m, a: log(a)), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_pre_hook(lambda m, a: a[0] * 2), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_pre_hook(lambda m, a: (a[0], a[0])), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_hook(lambda m, a, k, o: log(k), with_kwargs=True), m(input=matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_pre_hook(lambda m, a, k: (a, {}), with_kwargs=True), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_full_backward_hook(lambda m, i, o: log((i, o))), ran(m, matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_full_backward_hook(lambda m, i, o: (i[0] * 2,)), ran(m, matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_full_backward_hook(lambda m, i, o: (1, 2)), ran(m, matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_full_backward_pre_hook(lambda m, o: log(o)), ran(m, matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_full_backward_pre_hook(lambda m, o: (o[0] * 3,)), ran(m, matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_hook(lambda m, a, o: log(1)), m.register_forward_hook(lambda m, a, o: log(2), prepend=True), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_hook(lambda m, a, o: log(1)).remove(), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m.register_forward_hook(lambda m, a, o: log(1), always_call=True), m(matrix)))(filled(nn.Linear(3, 2))))
seen(lambda log: (lambda m: (m[0].register_forward_hook(lambda m, a, o: log(o)), m(tall)))(network()))
seen(lambda log: (lambda m: (m[2].register_full_backward_hook(lambda m, i, o: log(o)), ran(m, tall)))(network()))
seen(lambda log: (lambda m: (m[0].weight.register_hook(lambda g: g * 0), ran(m, tall)))(network()))
seen(lambda log: (lambda m: (m[3].weight.register_post_accumulate_grad_hook(lambda p: log(p.grad)), ran(m, tall)))(network()))
seen(lambda log: (lambda m: (m.register_state_dict_post_hook(lambda m, s, p, l: log(p)), list(m.state_dict())))(nn.Linear(3, 2)))
seen(lambda log: (lambda m: (m.register_load_state_dict_post_hook(lambda m, k: log(k)), m.load_state_dict(m.state_dict())))(nn.Linear(3, 2)))
seen(lambda log: (lambda m: (m.register_state_dict_pre_hook(lambda m, p, k: log(p)), list(m.state_dict(prefix="a."))))(nn.Linear(3, 2)))
seen(lambda log: inside(nn.modules.module.register_module_forward_hook(lambda m, a, o: log(1)), lambda: nn.Linear(3, 2)(matrix).shape))
"""
STATES = """
(lambda m, s: m.load_state_dict(<s>))(network(), network(2).state_dict())
(lambda m, s: m.load_state_dict(<s>, strict=False))(network(), network(2).state_dict())
(lambda m, s: (inside(contextlib.suppress(RuntimeError, TypeError), lambda: m.load_state_dict(<s>)), m[0].weight, m[3].bias, m[1].running_mean))(network(), network(2).state_dict())
(lambda m, s: (inside(contextlib.suppress(RuntimeError, TypeError), lambda: m.load_state_dict(<s>, False)), m[0].weight, m[3].bias, m[1].num_batches_tracked))(network(), network(2).state_dict())
"""
STATE_CHANGES = """
s
dict(s)
{}
then(s, lambda s: s.pop("0.weight"))
then(s, lambda s: s.pop("1.running_mean"))
then(s, lambda s: s.pop("1.num_batches_tracked"))
then(s, lambda s: s.update({"extra": vector}))
then(s, lambda s: s.update({"0.extra": vector}))
then(s, lambda s: s.update({"0.weight": square}))
then(s, lambda s: s.update({"0.weight": torch.ones(4, 3).double()}))
then(s, lambda s: s.update({"0.weight": torch.ones(4, 3).half()}))
then(s, lambda s: s.update({"0.weight": torch.ones(4, 3).long()}))
then(s, lambda s: s.update({"0.weight": torch.ones(3, 4).t()}))
then(s, lambda s: s.update({"0.weight": torch.ones(1).expand(4, 3)}))
then(s, lambda s: s.update({"0.weight": 1.0}))
then(s, lambda s: s.update({"0.weight": None}))
then(s, lambda s: s.update({"0.weight": nn.Parameter(torch.ones(4, 3))}))
then(s, lambda s: s.update({"0.bias": torch.ones(())}))
then(s, lambda s: s.update({"0.bias": torch.ones(1)}))
then(s, lambda s: s.update({"3.bias": torch.tensor([nan, inf])}))
then(s, lambda s: s.update({"1.num_batches_tracked": torch.tensor([5])}))
then(s, lambda s: s.update({"1.num_batches_tracked": torch.tensor(5.0)}))
{"module." + k: v for k, v in s.items()}
{1: 2}
[1]
None
list(s.items())
OrderedDict(s, x=1)
pickled(s)
copy.deepcopy(s)
saved(s)
"""
STATE_DICTS = """
network().state_dict()
list(network().state_dict(prefix="a."))
network().state_dict(keep_vars=True)["0.weight"].requires_grad
network().state_dict()["0.weight"].requires_grad
network().state_dict(destination=OrderedDict(a=1)).keys()
type(network().state_dict()).__name__
network().state_dict()._metadata["1"]
(lambda m: (m.state_dict()["0.bias"].zero_(), m[0].bias))(network())
(lambda m, s: (m[0].bias.data.zero_(), s["0.bias"]))(*(lambda m: (m, m.state_dict()))(network()))
(lambda m, o: (m.load_state_dict(o.state_dict()), o[0].bias.data.zero_(), m[0].bias))(network(), network(2))
(lambda m: (m(tall), m.state_dict()["1.running_var"], m.state_dict()["1.num_batches_tracked"]))(network())
nn.Linear(3, 2).load_state_dict({"weight": torch.ones(2, 3), "bias": torch.ones(2)})
nn.Linear(3, 2).load_state_dict({"weight": torch.ones(2, 3)})
nn.Linear(3, 2).load_state_dict({"weight": torch.ones(2, 3), "bias": torch.ones(2), "other": torch.ones(1)})
nn.Linear(3, 2).load_state_dict({"weight": torch.ones(3, 2), "bias": torch.ones(2)})
nn.Linear(3, 2, bias=False).load_state_dict(nn.Linear(3, 2).state_dict())
nn.Embedding(3, 2).load_state_dict(nn.Embedding(4, 2).state_dict())
nn.BatchNorm1d(2).load_state_dict(nn.BatchNorm1d(2, affine=False).state_dict())
nn.BatchNorm1d(2, track_running_stats=False).load_state_dict(nn.BatchNorm1d(2).state_dict())
nn.PReLU().load_state_dict({"weight": torch.ones(3)})
nn.LazyLinear(2).load_state_dict(nn.Linear(3, 2).state_dict())
nn.ModuleList([nn.Linear(1, 1)]).load_state_dict({"0.weight": torch.ones(1, 1), "0.bias": torch.ones(1)})
nn.ReLU().load_state_dict({})
nn.ReLU().load_state_dict({"a": vector})
"""
INITS = """
nn.init.constant_(<t>, 2.5)
nn.init.ones_(<t>)
nn.init.zeros_(<t>)
nn.init.eye_(<t>)
nn.init.dirac_(<t>)
nn.init.uniform_(<t>, 1, 1)
nn.init.normal_(<t>, 2, 0)
nn.init.trunc_normal_(<t>, 0, 1, 0, 0)
nn.init.xavier_uniform_(<t>).shape
nn.init.xavier_normal_(<t>, gain=0)
nn.init.kaiming_uniform_(<t>).shape
nn.init.kaiming_normal_(<t>, mode="fan_out").shape
nn.init.kaiming_normal_(<t>, mode="other").shape
nn.init.orthogonal_(<t>).shape
nn.init.sparse_(<t>, 0.5).shape
nn.init._calculate_fan_in_and_fan_out(<t>)
nn.utils.clip_grad_norm_([<t>], 1.0)
nn.init.uniform_(<t>).requires_grad
"""
CLIPS = """
(lambda ps: (<f>, [p.grad for p in ps]))(then([nn.Parameter(matrix), nn.Parameter(vector)], lambda ps: (ps[0] ** 2).sum().backward(), <g>))
"""
CLIP_CALLS = """
nn.utils.clip_grad_norm_(ps, 1.0)
nn.utils.clip_grad_norm_(ps, 100.0)
nn.utils.clip_grad_norm_(ps, 0.0)
nn.utils.clip_grad_norm_(ps, -1.0)
nn.utils.clip_grad_norm_(ps, inf)
nn.utils.clip_grad_norm_(ps, 1.0, norm_type=1)
nn.utils.clip_grad_norm_(ps, 1.0, norm_type=inf)
nn.utils.clip_grad_norm_(ps, 1.0, norm_type="inf")
nn.utils.clip_grad_norm_(ps, 1.0, norm_type=0)
nn.utils.clip_grad_norm_(ps, 1.0, error_if_nonfinite=True)
nn.utils.clip_grad_norm_(ps[0], 1.0)
nn.utils.clip_grad_norm_([], 1.0)
nn.utils.clip_grad_norm_(iter(ps), 1.0)
nn.utils.clip_grad_value_(ps, 0.5)
nn.utils.clip_grad_value_(ps, 0.0)
nn.utils.clip_grad_value_(ps, -1.0)
nn.utils.clip_grad_value_(ps, inf)
nn.utils.clip_grad_value_(ps[0], 0.5)
nn.utils.get_total_norm([p.grad for p in ps if p.grad is not None])
nn.utils.get_total_norm([])
nn.utils.clip_grads_with_norm_(ps, 1.0, torch.tensor(2.0))
"""
CLIP_GRADIENTS = """
lambda ps: None
lambda ps: ps[0].grad.fill_(nan)
lambda ps: ps[0].grad.fill_(inf)
lambda ps: ps[0].grad.zero_()
lambda ps: setattr(ps[1], "grad", torch.ones(3) * 5)
lambda ps: setattr(ps[0], "grad", None)
"""

_PLAIN = [line for line in lines(LAYERS) if not line.startswith(("nn.Bilinear", "nn.Cosine", "nn.Pairwise"))]
GROUPS = {
    "losses as modules": [
        *product(lines(CALLED), o=CALL_OPTIONS),
        *product("repr(<m>)", m=[line.partition(")(")[0].replace("<o>", "") + ")" for line in lines(CALLED)]),
    ],
    "losses of pairs": [
        *product([f"gradient(lambda x, y: {line.replace('<x>', 'x').replace('<y>', 'y')}, <x>, <y>)"
                  for line in lines(PAIRED)], x="matrix", y="other", r="none mean sum other"),
        *product(lines(PAIRED), y=["<x> * 0.5"], x="matrix empty scalar vector cube double_matrix half_matrix a_int64",
                 r="none mean"),
        *product(lines(PAIRED), x="matrix", y="double_matrix vector column square scalar a_int64 torch.full((2,3),nan) transposed",
                 r="mean"),
        *product(lines(PAIRED), x="edges", y="edges.flip(0)", r="none sum"),
    ],
    "losses of classes": [
        *product(lines(CLASSES), x="matrix", y=LABELS, o=CLASS_OPTIONS),
        *product("gradient(lambda t: F.cross_entropy(t, <y>, <o>), <x>)", x="matrix", y=LABELS, o=CLASS_OPTIONS),
        *product("gradient(lambda t: F.nll_loss(t, <y>, <o>), <x>)", x="matrix", y=LABELS.splitlines()[1:5],
                 o=CLASS_OPTIONS),
        *product(lines(CLASSES)[:2], x="vector empty cube scalar double_matrix half_matrix a_int64 edges[None,:3].expand(2,3)",
                 y="labels label torch.tensor([],dtype=torch.int64)", o='reduction="mean" reduction="none"'),
    ],
    "other losses": [
        *product(lines(MORE_LOSSES), x="matrix transposed torch.zeros(2,3) double_matrix"),
        *product("gradient(lambda t: <l>, matrix)", l=[line.replace("<x>", "t") for line in lines(MORE_LOSSES)]),
    ],
    "layers": [
        *product("ran(filled(<l>).train(), <x>)", l=_PLAIN, x=LAYER_INPUTS),
        *product("ran(filled(<l>).eval(), <x>)", l=_PLAIN, x="matrix row empty double_matrix cube"),
        *product("repr(<l>)", l=lines(LAYERS)),
        *product("(lambda m: ([p.shape for p in m.parameters()], list(m.state_dict()), m.training))(<l>)",
                 l=lines(LAYERS)),
        *product("ran(filled(<l>), matrix, <y>)", l="nn.Bilinear(3,3,2) nn.CosineSimilarity() nn.PairwiseDistance()",
                 y="other square vector"),
    ],
    "layers of float16": [
        *product("ran(filled(<l>).half().<m>(), <x>)", l=[line for line in _PLAIN if "dtype" not in line and "nn.InstanceNorm" not in line],
                 m="train eval", x="half_matrix cube.half()"),
        *product("(lambda m: [m(half_matrix * i).detach() for i in range(6)])(filled(<l>).half())",
                 l=[line for line in _PLAIN if "Sequential" in line]),
    ],
    "layers that run twice": product(
        "(lambda m: (m(tall), m(tall * 2), m.eval()(tall), list(m.buffers())))(filled(<l>))",
        l=[line for line in _PLAIN if "Norm1d" in line or "Sequential" in line],
    ),
    "embeddings": product(lines(EMBEDDINGS), i=EMBEDDED),
    "modules": [*lines(WRONG), *lines(HOOKS)],
    "state dicts": [*product(lines(STATES), s=STATE_CHANGES), *lines(STATE_DICTS)],
    "initializers": [
        *product(lines(INITS), t="matrix square vector scalar cube empty matrix.requires_grad_() a_int64"),
        *product("nn.init.calculate_gain(<a>)", a="'relu' 'tanh' 'linear' 'sigmoid' 'selu' 'leaky_relu' "
                 "'leaky_relu',0.2 'leaky_relu','a' 'other' 'conv2d'"),
    ],
    "clipping": product(lines(CLIPS), f=CLIP_CALLS, g=CLIP_GRADIENTS),
}  # fmt: skip
