"""Probes of whole tensors: creation, views, concatenation, products, printing and saving."""

from __future__ import annotations

from probes.tables import DTYPES, MAIN_DTYPES, lines, product

CREATION = """
torch.zeros(<s>)
torch.ones(<s>)
torch.empty(<s>).shape
torch.full(<s>, 2)
torch.full(<s>, 2.5)
torch.full(<s>, True)
torch.rand(<s>).shape
torch.randn(<s>).dtype
torch.zeros(size=<s>)
matrix.new_zeros(<s>)
a_int64.new_ones(<s>)
matrix.new_full(<s>, 3)
a_int64.new_full(<s>, 3.5)
matrix.new_empty(<s>).shape
"""
SIZES = """
(2, 3)
[2, 3]
()
(0,)
(2, 0)
3
(-1,)
(2.0,)
torch.Size([2])
(True,)
None
(2, -3)
(torch.tensor(2), 3)
np.int64(2)
"2"
"""
RANGES = """
torch.arange(<a>)
torch.arange(<a>, dtype=torch.float32)
torch.arange(<a>, dtype=torch.int32)
torch.arange(1, <a>)
torch.arange(<a>, 0, -1)
torch.arange(0, <a>, 2)
torch.arange(0, 5, <a>)
torch.linspace(0, 1, <a>)
torch.linspace(0, <a>, 3)
torch.linspace(<a>, -1, 4, dtype=torch.float64)
torch.linspace(0, <a>, 5, dtype=torch.int64)
torch.logspace(0, <a>, 3)
torch.logspace(0, 2, <a>, base=2)
torch.eye(<a>)
torch.eye(2, <a>)
torch.full((2,), <a>)
torch.tensor(<a>)
torch.as_tensor(<a>)
torch.scalar_tensor(<a>)
torch.full_like(a_int64, <a>)
torch.full_like(matrix, <a>)
torch.randperm(<a>).sort()[0]
torch.tril_indices(<a>, 2)
torch.triu_indices(2, <a>)
torch.zeros(<a>, dtype=torch.bool)
"""
LIKE = """
torch.zeros_like(<x>)
torch.ones_like(<x>, dtype=torch.int64)
torch.full_like(<x>, 2)
torch.empty_like(<x>).stride()
torch.rand_like(<x>).shape
torch.zeros_like(<x>, requires_grad=True)
torch.clone(<x>).stride()
<x>.contiguous().stride()
<x>.detach().storage_offset()
torch.as_tensor(<x>)
torch.asarray(<x>, copy=True)
torch.tensor(<x>)
torch.tensor(<x>.numpy())
torch.from_numpy(<x>.numpy())
torch.tensor(<x>.tolist())
torch.Tensor(<x>)
torch.from_numpy(<x>.numpy().T)
<x>.numpy().strides
np.asarray(<x>)
<x>.new_tensor([1, 2])
<x>.type_as(a_int64)
<x>.element_size() * <x>.nelement()
<x>.data_ptr() == <x>.data_ptr()
copy.deepcopy(<x>)
copy.copy(<x>)
pickled(<x>)
saved(<x>)
saved([<x>, {"a": <x>}])
saved(<x>).stride()
saved((<x>, <x>[..., :1]))
repr(<x>)
str(<x>)
format(<x>)
"""
VIEWS = """
<x>.t()
<x>.T
<x>.mT
<x>.view(-1)
<x>.view(3, 2)
<x>.view(6)
<x>.view(2, -1)
<x>.view(-1, -1)
<x>.view(0, 3)
<x>.view(1, -1, 1)
<x>.view(torch.int32)
<x>.view(torch.float64)
<x>.reshape(-1)
<x>.reshape(3, -1)
<x>.reshape(())
<x>.reshape(2, 3, 1)
<x>.reshape(-1, 0)
<x>.reshape(5)
<x>.flatten()
<x>.flatten(1)
<x>.flatten(0, 1)
<x>.flatten(1, 0)
<x>.flatten(0, 5)
<x>.unflatten(0, (1, -1))
<x>.unflatten(-1, (3, 1))
<x>.unflatten(0, (5, 5))
<x>.squeeze()
<x>.squeeze(0)
<x>.squeeze(-1)
<x>.squeeze(4)
<x>.squeeze((0, 1))
<x>.unsqueeze(0)
<x>.unsqueeze(-1)
<x>.unsqueeze(1)
<x>.unsqueeze(5)
<x>.transpose(0, 1)
<x>.transpose(0, -1)
<x>.transpose(0, 3)
<x>.permute(1, 0)
<x>.permute(0, 1)
<x>.permute((0, 0))
<x>.permute(-1, 0)
<x>.permute()
<x>.movedim(0, -1)
<x>.movedim((0, 1), (1, 0))
<x>.swapaxes(0, 1)
<x>.expand(2, 2, 3)
<x>.expand(-1, 3)
<x>.expand(4, 3)
<x>.expand(-1, -1, 3)
<x>.expand(2)
<x>.expand_as(torch.ones(2, 2, 3))
<x>.repeat(2)
<x>.repeat(2, 2)
<x>.repeat(0, 1)
<x>.repeat(1, 2, 1)
<x>.repeat(-1, 1)
<x>.repeat_interleave(2)
<x>.repeat_interleave(2, dim=0)
<x>.repeat_interleave(-1, dim=0)
<x>.tile(2)
<x>.tile(2, 1, 2)
<x>.narrow(0, 0, 1)
<x>.narrow(1, 1, 2)
<x>.narrow(0, 1, 4)
<x>.narrow(0, -1, 1)
<x>.select(0, 0)
<x>.select(-1, -1)
<x>.select(0, 7)
<x>.chunk(2)
<x>.chunk(2, 1)
<x>.chunk(5, -1)
<x>.chunk(0)
<x>.split(1)
<x>.split(2, dim=-1)
<x>.split([1, 1])
<x>.split([1, 2], 1)
<x>.split([1, 3], 1)
<x>.split(0)
<x>.tensor_split(2)
<x>.tensor_split((1,), 1)
<x>.tensor_split(4, -1)
<x>.hsplit(1)
<x>.vsplit(2)
<x>.unbind()
<x>.unbind(1)
<x>.unfold(0, 1, 1)
<x>.unfold(-1, 2, 1)
<x>.unfold(0, 9, 1)
<x>.diagonal()
<x>.diagonal(1)
<x>.diagonal(-2)
<x>.diagonal(0, -1, -2)
<x>.diag()
<x>.diag(1)
torch.diag_embed(<x>)
torch.diag_embed(<x>, 1)
torch.diagflat(<x>)
<x>.tril()
<x>.triu(1)
<x>.tril(-1)
<x>.trace()
<x>.flip(0)
<x>.flip(0, 1)
<x>.flip(-1)
<x>.flip(0, 0)
<x>.flip(3)
<x>.fliplr()
<x>.flipud()
<x>.roll(1)
<x>.roll(1, 0)
<x>.roll((1, -1), (0, 1))
<x>.roll((1, 2), 0)
<x>.rot90()
<x>.rot90(2, (0, 1))
<x>.rot90(1, (0, 0))
<x>.ravel()
<x>.is_contiguous()
<x>.stride()
<x>.storage_offset()
<x>.numel()
<x>.size(0)
<x>.size(-1)
<x>.size(5)
<x>.shape[0]
<x>.view_as(<x>)
<x>.sum_to_size(1)
<x>.sum_to_size(1, 3)
<x>.sum_to_size(3)
<x>.fill_diagonal_(1)
<x>.resize_(2)
<x>.unsqueeze_(0).shape
<x>.squeeze_().shape
<x>.t_()
<x>.transpose_(0, 1).shape
torch.atleast_1d(<x>)
torch.atleast_2d(<x>)
torch.atleast_3d(<x>)
torch.cat([<x>, <x>])
torch.cat([<x>, <x>], -1)
torch.cat([<x>, nothing])
torch.cat([<x>, vector])
torch.cat((<x>, a_int64))
torch.cat([<x>], 5)
torch.stack([<x>, <x>])
torch.stack([<x>, <x>], -1)
torch.stack([<x>, <x>], 5)
torch.stack([<x>, scalar])
torch.hstack([<x>, <x>])
torch.vstack([<x>, vector])
torch.dstack([<x>, <x>])
torch.column_stack([<x>, <x>])
torch.block_diag(<x>, torch.ones(1, 1))
torch.meshgrid(<x>, <x>, indexing="ij")
torch.meshgrid(<x>, vector, indexing="xy")
torch.broadcast_to(<x>, (2, 2, 3))
torch.kron(<x>, vector)
torch.outer(<x>, <x>)
torch.inner(<x>, <x>)
F.pad(<x>, (1, 1))
F.pad(<x>, (0, 1, 1, 0), value=2.0)
F.pad(<x>, (-1, 0))
F.pad(<x>, (1,))
F.pad(<x>, (1, 1), "other")
[t.shape for t in <x>]
len(<x>)
list(<x>)[0]
1.0 in <x>
<x>.tolist()
<x>.is_same_size(matrix)
torch.is_nonzero(<x>)
bool(<x>)
hash(<x>) == hash(<x>)
<x>.apply_(lambda v: v + 1)
"""
SHAPES = "scalar vector row column matrix other.T square cube permuted empty narrow nothing batches torch.tensor(2.0)".split()
PRODUCTS = """
torch.matmul(<x>, <y>)
<x> @ <y>.mT
torch.mm(<x>, <y>)
torch.dot(<x>, <y>)
torch.mv(<x>, <y>)
torch.bmm(<x>, <y>)
torch.inner(<x>, <y>)
torch.outer(<x>, <y>)
torch.tensordot(<x>, <y>, 1)
F.linear(<x>, <y>)
"""
MORE_PRODUCTS = """
torch.addmm(<b>, matrix, square)
torch.addmm(<b>, matrix, square, beta=0.5, alpha=2)
torch.addmm(<b>, matrix, square, beta=0)
torch.addmv(<b>, square, vector)
torch.addr(<b>, vector, vector)
torch.baddbmm(<b>, batches, square.expand(2, 3, 3))
torch.addbmm(<b>, batches, square.expand(2, 3, 3))
F.linear(matrix, square, <b>)
F.linear(vector, square, <b>)
F.linear(cube.mT, square, <b>)
F.linear(empty, square, <b>)
F.bilinear(matrix, other, torch.ones(2, 3, 3), <b>)
torch.einsum("i,j->ij", <b>, vector)
torch.einsum("...i,i->...", <b>, vector)
torch.einsum("ij->ji", <b>)
torch.einsum("ii->i", <b>)
torch.einsum("ij,kj", <b>, square)
torch.einsum("...", <b>)
torch.einsum("i", <b>)
torch.einsum("ij->", <b>)
torch.cross(<b>, <b> * vector, dim=-1)
torch.linalg.cross(<b>, vector)
torch.linalg.multi_dot([<b>, square])
torch.linalg.vecdot(<b>, vector)
torch.linalg.matrix_norm(<b>)
torch.linalg.matrix_norm(<b>, 1)
torch.linalg.matrix_norm(<b>, 2)
torch.linalg.norm(<b>, "nuc")
torch.linalg.matrix_power(<b>, 2)
torch.matrix_power(<b>, -1)
torch.linalg.det(<b>)
torch.logdet(<b>)
torch.slogdet(<b>)
torch.inverse(<b>)
torch.linalg.inv(<b>)
torch.linalg.solve(<b>, vector)
torch.linalg.solve(<b>, square)
torch.linalg.cholesky(<b>)
torch.linalg.eigvalsh(<b>)
torch.linalg.svdvals(<b>)
torch.linalg.pinv(<b>)
torch.linalg.matrix_rank(<b>)
torch.linalg.cond(<b>)
torch.linalg.lstsq(<b>, square)[0]
torch.linalg.solve_triangular(<b>, square, upper=True)
torch.linalg.qr(<b>)[1].abs()
torch.linalg.eigh(<b>)[0]
torch.linalg.svd(<b>, full_matrices=False)[1]
torch.trace(<b>)
torch.cdist(<b>, square)
torch.cdist(<b>, square, p=1)
torch.cdist(<b>, <b>, p=inf)
F.pdist(<b>)
F.cosine_similarity(<b>, vector, dim=-1)
F.cosine_similarity(<b>, <b>, dim=0)
F.pairwise_distance(<b>, vector)
F.pairwise_distance(<b>, <b>, p=1, keepdim=True)
torch.chain_matmul(<b>, square)
"""
ATTRIBUTES = """dtype shape device layout ndim is_leaf requires_grad grad grad_fn is_cpu is_cuda is_meta is_mps is_sparse
 is_quantized is_xpu is_mkldnn itemsize nbytes names output_nr real data mH H is_complex() is_conj() is_neg() is_inference()
 is_floating_point() is_signed() is_shared() is_pinned() ndimension() dim() numel() nelement() get_device() element_size()
 type() tolist() size() stride() storage_offset() is_contiguous() cpu() adjoint() conj() resolve_conj() positive()
 reshape_as(<x>) view_as(<x>) narrow_copy(0,0,1) split_with_sizes([1,1]) unsafe_chunk(2) unsafe_split(1) moveaxis(0,-1)
 swapdims(0,1) dsplit(1) pinverse() share_memory_().shape new(2).shape as_subclass(torch.Tensor) resize_as_(matrix).shape
 type(torch.float64) type("torch.LongTensor") to(dtype=torch.int32) to(other) to(a_int64) new_tensor([1]) __len__() __contains__(1)
 __array__() __format__("") __repr__() __bool__() __float__() __int__() __index__() __hash__()!=0 __neg__() __abs__() __pos__()
 __invert__() __matmul__(square) __rmatmul__(square) __radd__(1) __rsub__(1) __rtruediv__(1) __rpow__(2) __rmod__(2)
 __rfloordiv__(2) __and__(1) __or__(1) __xor__(1) __lshift__(1) __iadd__(1) __imul__(2) __eq__(1) __ne__(None) __lt__(0)
 __getitem__(0) __reversed__() __dir__()[:0] __deepcopy__({}) __copy__()
 bernoulli().shape multinomial(1).shape histogram(2) vdot(vector) ger(vector)""".replace("\n", " ")
PRINTED = """
0.0
-0.0
1.0
0.1
1e-3
1e-5
12345.678
1e7
123456789.0
1e10
nan
inf
[1.0, nan]
[1.0, inf, -2.5]
[1e-8, 1.0]
[0.1, 1000.0]
[1.0, 2.0, 3.0]
[100000.0, 1.0]
[1e5, 1e-5]
[0.5, -0.25]
[True, False]
[1, 2, 300]
[-1, 20]
[[1.0, 2.5], [3.0, 4.0]]
[[1, -2], [3, 4]]
[[[0.5]]]
[]
[[]]
"""
PRINTING = """
repr(torch.tensor(<v>))
str(torch.tensor(<v>, dtype=torch.float64))
repr(torch.tensor(<v>, dtype=torch.float16))
repr(torch.tensor(<v>, dtype=torch.float32, requires_grad=True))
repr(torch.tensor(<v>, dtype=torch.float32, requires_grad=True) * 2)
f"{torch.tensor(<v>)}"
repr(nn.Parameter(torch.tensor(<v>, dtype=torch.float32)))
repr([torch.tensor(<v>)])
repr(torch.tensor(<v>).numpy())
torch.tensor(<v>).tolist()
repr(torch.tensor(<v>).max(-1))
"""
SAVED = """
saved(<x>)
saved(<x>, weights_only=True)
saved(<x>, map_location="cpu")
saved({"x": <x>, "n": 1})
saved([<x>, (1, 2.5, "a", None, True)])
pickled(<x>)
copy.deepcopy({"x": <x>})["x"]
"""
GENERAL = """
saved(OrderedDict(a=matrix))
saved({1: 2, "b": [1, 2], "c": (1,), "d": None, "e": 1.5, "f": "text", "g": b"bytes"})
saved(torch.float16)
saved(torch.Size([1, 2]))
saved(network().state_dict())
saved(network().state_dict(), weights_only=True).keys()
saved({1, 2})
saved(nn.Parameter(matrix))
saved(matrix.requires_grad_())
saved(matrix.requires_grad_() * 2)
saved((lambda t: [t, t])(matrix))[0].data_ptr() > 0
(lambda a, b: (a.zero_(), b))(*saved((lambda t: [t, t[0]])(matrix)))
(lambda a, b: (a.zero_(), b))(*saved([matrix, matrix]))
(lambda a, b: (a.zero_(), b))(*(lambda t: copy.deepcopy([t, t[0]]))(matrix))
(lambda a, b: (a.zero_(), b))(*(lambda t: copy.deepcopy([t[0], t]))(matrix))
(lambda a, b: (a.zero_(), b))(*(lambda t: copy.deepcopy([t, t.detach()]))(matrix))
(lambda a, b: (a.zero_(), b))(*(lambda t: copy.deepcopy([t[:, 1], t.t()]))(matrix))
(lambda a, b: (a.zero_(), b))(*(lambda t: copy.deepcopy([t, t.clone()]))(matrix))
(lambda a, b: (a.zero_(), b))(*(lambda t: pickled([t, t[0]]))(matrix))
(lambda t: (copy.deepcopy(t[0]).zero_(), t))(matrix)
(lambda t: copy.deepcopy([t[0].detach(), t]))(matrix)
(lambda t: copy.deepcopy([t.data, t, t.view(-1)[2:5], t.expand(2, 2, 3)]))(matrix)
saved(steps)
saved(len, weights_only=True)
saved(complex(1, 2))
saved(np.float32(1.5), weights_only=False)
saved(matrix, map_location="cuda")
saved(matrix, map_location=torch.device("cpu"))
saved(matrix, map_location=lambda storage, location: storage)
torch.load(io.BytesIO(b""))
torch.load(io.BytesIO(b"nonsense"))
torch.load("/no/such/file")
torch.save(matrix, "/no/such/folder/file")
torch.save(matrix, None)
torch.save(matrix, io.BytesIO())
torch.load(None)
torch.from_dlpack(matrix)
torch.histogram(vector, 3)
torch.histogramdd(tall, [2, 2, 2])
torch.vdot(vector, vector)
torch.vdot(vector, matrix)
torch.narrow_copy(matrix, 1, 0, 2)
torch.view_copy(matrix, (3, 2))
torch.unfold_copy(matrix, 1, 2, 1)
torch.split_with_sizes(matrix, [1, 1])
torch.unsafe_chunk(matrix, 2)
torch.dsplit(cube, 2)
torch.dsplit(matrix, 1)
torch.concat([matrix, other])
torch.concatenate([matrix, other], 1)
torch.row_stack([vector, vector])
torch.trapz(matrix)
torch.ger(vector, vector)
torch.pinverse(square)
torch.moveaxis(cube, 0, 2)
torch.swapdims(cube, 0, 1)
torch.adjoint(cube)
torch.is_complex(matrix)
torch.is_conj(matrix)
torch.is_inference(matrix)
torch.is_neg(matrix)
torch.is_storage(matrix)
torch.pi
torch.ByteTensor([1, 2])
torch.ShortTensor([1])
torch.IntTensor([[1]])
torch.CharTensor([1])
torch.DoubleTensor([1.5])
torch.HalfTensor([1.5])
torch.DoubleTensor(2).shape
torch.randn_like(matrix).dtype
torch.randint_like(matrix, 5).dtype
torch.randint_like(matrix, 0, 1)
torch.linalg.inv_ex(square)
torch.linalg.inv_ex(singular * 0).info
torch.linalg.eigvals(spd).shape
torch.special.multigammaln(positive + 3, 2)
torch.special.logsumexp(matrix, 0)
torch.special.softmax(matrix, 0)
torch.special.log_softmax(matrix, 1)
torch.special.round(matrix)
torch.is_anomaly_enabled()
torch.are_deterministic_algorithms_enabled()
torch.get_float32_matmul_precision()
torch.set_float32_matmul_precision("other")
torch.get_default_device()
torch.initial_seed()
torch.manual_seed("a")
torch.manual_seed(2**70)
torch.manual_seed(-1).initial_seed()
torch.Generator().manual_seed(3).initial_seed()
torch.Generator().initial_seed()
torch.Generator().device
torch.get_rng_state().dtype
torch.cuda.device_count()
torch.cuda.current_device()
torch.cuda.is_initialized()
torch.cuda.synchronize()
torch.cuda.empty_cache()
torch.cuda.manual_seed(1)
torch.cuda.manual_seed_all(1)
torch.cuda.memory_allocated()
torch.vander(vector, 3, True)
torch.broadcast_to(vector, (2, 3))
torch.finfo(torch.float32).eps
torch.finfo(torch.float16).max
torch.finfo(torch.float64).tiny
torch.finfo(torch.int32)
torch.iinfo(torch.int16).min
torch.iinfo(torch.uint8).max
torch.iinfo(torch.float32)
torch.finfo().bits
torch.broadcast_shapes((2, 1), (3,))
torch.broadcast_shapes((2,), (3,))
torch.broadcast_shapes(2, (1, 2))
torch.is_tensor(matrix)
torch.is_tensor(1)
torch.is_floating_point(a_int64)
torch.numel(cube)
torch.get_default_dtype()
torch.set_default_dtype(torch.int64)
torch.Size([1, 2]) + (3,)
torch.Size([1, 2]).numel()
torch.Size([1, 2])[1:]
torch.Size((1, 2)) == (1, 2)
torch.tensor([1, 2], device="cuda")
torch.zeros(2, device="nowhere")
torch.zeros(2).cuda()
torch.device("cuda:1").index
torch.device("cpu", 0)
torch.device("nothing")
torch.cuda.is_available()
torch.typename(matrix)
torch.frombuffer(bytearray(8), dtype=torch.float32)
torch.frombuffer(bytearray(7), dtype=torch.float32)
torch.frombuffer(bytearray(8), dtype=torch.int16, offset=2, count=2)
torch.from_numpy(np.array([1.5], np.float64))
torch.from_numpy(np.array(["a"]))
torch.from_numpy(np.array([1], np.uint16).astype(np.uint8))
torch.from_numpy([1])
torch.from_numpy(np.arange(4)[::-1])
torch.from_numpy(np.zeros(2, "c8"))
torch.from_numpy(np.float32(1))
torch.tensor(np.arange(4)[::-1].copy())
torch.tensor(np.bool_(True))
torch.tensor(b"a")
torch.tensor([object()])
torch.tensor(1j)
torch.tensor(2**62)
torch.tensor(-(2**63))
torch.tensor(2**63)
torch.tensor([2**40, 1.5])
torch.tensor([True, 2])
torch.tensor([True, 2.5])
torch.tensor([1, 2], requires_grad=True)
torch.tensor(range(3))
torch.tensor(x for x in [1])
torch.Tensor(2, 3).shape
torch.Tensor([1, 2])
torch.Tensor(2.5)
torch.LongTensor([1.5])
torch.FloatTensor([1, 2])
torch.BoolTensor([0, 2])
torch.tensor()
torch.tensor([1], [2])
torch.zeros()
torch.ones(2, 3, dtype=int)
torch.ones(2, dtype=float)
torch.ones(2, dtype=bool)
torch.ones(2, dtype="int")
torch.ones(2, dtype=np.float32)
torch.zeros(2, out=torch.ones(2))
callable(torch.complex)
torch.normal(0.0, 0.0, (2,))
torch.normal(0.0, -1.0, (2,))
torch.randint(0, 1, (3,))
torch.randint(3, 3, (3,))
torch.randint(0, 5, (3,)).dtype
torch.randint(5, (3,), dtype=torch.float32).dtype
torch.multinomial(torch.tensor([0.0, 1.0]), 2, replacement=True)
torch.multinomial(torch.tensor([0.0, 1.0]), 2)
torch.multinomial(torch.tensor([-1.0, 1.0]), 1)
torch.bernoulli(torch.tensor([0.0, 1.0]))
torch.bernoulli(torch.tensor([2.0]))
torch.poisson(torch.zeros(2))
matrix.random_(1, 2)
matrix.uniform_(1, 1)
matrix.uniform_(2, 1)
matrix.normal_(1, 0)
matrix.exponential_(-1)
"""


def _dotted(words: str) -> list[str]:
    return [word if word.startswith("[") else f".{word}" for word in words.split()]


GROUPS = {
    "creation": [
        *product(lines(CREATION), s=SIZES),
        *product("torch.<f>((2, 2), dtype=torch.<d>)", f="zeros ones", d=[*DTYPES, "bfloat16"]),
        *product("torch.full((2,), <v>, dtype=torch.<d>)", v="2.7 -1 True nan 300", d=DTYPES),
        *product("torch.arange(0, 3, <s>, dtype=torch.<d>)", s="1 0.5", d=DTYPES),
        *product("torch.tensor([1, 0, 2], dtype=torch.<d>)", d=DTYPES),
        *product("torch.tensor([1.7, -0.5], dtype=torch.<d>)", d=DTYPES),
    ],
    "ranges": [
        *product(lines(RANGES), a="0 1 3 -2 2.5 True nan inf '3' None torch.tensor(3)"),
        *product(["torch.tensor(<a>, dtype=torch.float16)", "torch.tensor(<a>, dtype=torch.uint8)", "torch.tensor([<a>, 1])"],
                 a="0 1 3 -2 2.5 True nan inf"),
    ],
    "attributes": product(
        [f"<x>.{name}" for name in ATTRIBUTES.split()], x="matrix scalar vector empty cube a_int64 mask transposed"
    ),
    "copies": product(lines(LIKE), x="matrix scalar empty transposed strided expanded a_int64 mask half_matrix"),
    "views and shapes": product(
        lines(VIEWS), x="matrix scalar vector empty cube transposed permuted strided expanded row"
    ),
    "strides of views": product(
        "(lambda t: (t.stride(), t.storage_offset(), t.is_contiguous()))(<x><v>)",
        x="matrix transposed permuted strided expanded row offset",
        v=_dotted("t() unsqueeze(0) unsqueeze(-1) squeeze() [1:] [:,1:] [...,::2] [None] [0] flatten() reshape(-1) expand(2,2,3) "
        "narrow(0,0,1) diagonal() contiguous() clone() chunk(2)[-1] transpose(0,-1) view(-1) unfold(-1,2,1) detach() "
        "movedim(0,-1) repeat(1,1,2) flip(0) to(torch.float64) abs() add(1) mul(vector[:1])"),
    ),
    "products": [
        *product("torch.matmul(<x>, <y>)", x=SHAPES, y=SHAPES),
        *product(lines(PRODUCTS), x="scalar vector matrix square empty batches", y="scalar vector square matrix.T batches.mT "
                 "narrow a_int64 double_matrix"),
        *product("torch.matmul(a_<a>, b_<b>.T)", a=DTYPES, b=DTYPES),
        *product("torch.<f>(b_<a>[:, :2], b_<a>[:, :2])", f="mm matmul inner", a=MAIN_DTYPES),
    ],
    "products and decompositions": product(
        lines(MORE_PRODUCTS), b="square spd vector matrix scalar singular batches a_int64 double_matrix"
    ),
    "printing": product(lines(PRINTING), v=PRINTED),
    "saving": [*product(lines(SAVED), x=[f"special_{d}" for d in DTYPES]), *lines(GENERAL)],
}  # fmt: skip
