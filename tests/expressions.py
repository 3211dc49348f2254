"""Expressions whose value fastnn prints as PyTorch does, or for which it raises an error of the same kind.

``test_expressions.py`` compares with PyTorch live, and with what it answered in ``golden/expressions.json``
(written by ``golden/make_expressions.py``). ``torch`` is the library, ``np`` NumPy.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

GROUPS: dict[str, str] = {}
GROUPS["creation"] = """
torch.tensor([1, 2, 3])
torch.tensor([1.5, 2, 3])
torch.tensor([[1, 2], [3, 4]], dtype=torch.float64)
torch.tensor(3)
torch.tensor(3.0)
torch.tensor(True)
torch.tensor([True, False])
torch.tensor([])
torch.tensor([[]])
torch.tensor([[1.0], [2.0]], requires_grad=True)
torch.tensor(np.array([1, 2], np.int32))
torch.tensor([np.float64(1.5), np.float64(2)])
torch.tensor([np.array([1.0, 2.0]), np.array([3.0, 4.0])])
torch.tensor("a")
torch.tensor([[1], [2, 3]])
torch.tensor([1, "a"])
torch.tensor(None)
torch.tensor([1, 2], dtype=float)
torch.tensor([1.7, -1.7], dtype=torch.int32)
torch.tensor([1, 2], dtype="float32")
torch.tensor([1, 2], device="cpu")
torch.tensor([1], device=torch.device("cpu"))
torch.tensor((1, 2.5))
torch.tensor(range(3))
torch.tensor({"a": 1})
torch.as_tensor([1, 2])
torch.as_tensor(np.array([1.0, 2.0]), dtype=torch.float32)
torch.as_tensor(torch.ones(2))
torch.asarray([1, 2])
torch.from_numpy(np.arange(3))
torch.from_numpy(np.float64(1))
torch.from_numpy(np.arange(3)[::-1])
torch.zeros(2, 3)
torch.zeros((2, 3), dtype=torch.int64)
torch.zeros([2])
torch.zeros(())
torch.zeros(size=(2, 1))
torch.zeros(torch.Size([2, 2]))
torch.zeros(2.5)
torch.zeros(-1)
torch.zeros("a")
torch.ones(2, dtype=torch.bool)
torch.ones(3, requires_grad=True)
torch.empty(0)
torch.empty(2, 0).shape
torch.full((2, 2), 3)
torch.full((2,), 3.5)
torch.full((2,), True)
torch.full((2,), 1, dtype=torch.float64)
torch.full([1], 5)
torch.eye(3)
torch.eye(2, 3)
torch.eye(0)
torch.eye(-1)
torch.arange(5)
torch.arange(1, 4)
torch.arange(1, 2, 0.25)
torch.arange(5.0)
torch.arange(5, 0, -2)
torch.arange(0, 1, 0.1)
torch.arange(3, dtype=torch.float32)
torch.arange(0)
torch.arange(5, 1)
torch.arange(1, 5, 0)
torch.arange(torch.tensor(4))
torch.arange(start=1, end=3)
torch.linspace(0, 1, 5)
torch.linspace(-3, 3, 7)
torch.linspace(0, 1, 1)
torch.linspace(0, 1, 0)
torch.linspace(0, 10, 4, dtype=torch.int64)
torch.linspace(0, 1, steps=3, dtype=torch.float64)
torch.linspace(0, 1, -1)
torch.logspace(0, 2, 3)
torch.logspace(0, 3, 4, base=2)
torch.zeros_like(torch.ones(2, 2))
torch.ones_like(torch.tensor([1, 2]))
torch.ones_like(torch.tensor([1, 2]), dtype=torch.float32)
torch.full_like(torch.ones(2), 7)
torch.empty_like(torch.ones(2)).shape
torch.zeros_like([1])
torch.ones(2).new_zeros(3)
torch.ones(2).new_ones((2, 2))
torch.ones(2).new_full((2,), 5)
torch.tensor([1, 2]).new_tensor([3.7])
torch.ones(2).new_empty(0)
torch.ones(2).new_zeros(2, dtype=torch.int64)
torch.scalar_tensor(3)
torch.FloatTensor([1, 2])
torch.FloatTensor(2, 3).shape
torch.DoubleTensor([1, 2])
torch.LongTensor([1, 2])
torch.IntTensor([1, 2])
torch.ByteTensor([1, 2])
torch.BoolTensor([1, 0])
torch.Tensor([1, 2])
torch.Tensor(2, 3).shape
torch.Tensor().shape
torch.Tensor([[1, 2]]).dtype
torch.FloatTensor(np.array([1, 2], np.float32))
torch.LongTensor([1.0])
isinstance(torch.ones(1), torch.FloatTensor)
isinstance(torch.ones(1), torch.LongTensor)
isinstance(torch.ones(1), torch.Tensor)
torch.tril_indices(3, 3)
torch.triu_indices(2, 3, 1)
torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
torch.meshgrid(torch.arange(2), torch.arange(3), indexing="xy")
torch.cartesian_prod(torch.tensor([1, 2]), torch.tensor([3, 4]))
torch.combinations(torch.tensor([1, 2, 3]))
torch.vander(torch.tensor([1, 2, 3]))
torch.nn.functional.one_hot(torch.tensor([0, 2]))
torch.from_dlpack(np.arange(3.0))
np.from_dlpack(torch.arange(3))
torch.is_tensor(torch.ones(1))
torch.is_tensor([1])
"""
GROUPS["printing"] = """
torch.tensor([0.1, 0.22, 0.333])
torch.tensor([1.0, 2.0, 3.0])
torch.tensor([1e-5, 1.0])
torch.tensor([1e5, 1.0])
torch.tensor([1e9, 1.5])
torch.tensor([1e-8])
torch.tensor([123456789.0])
torch.tensor([0.00001234])
torch.tensor([float("nan"), 1.0])
torch.tensor([float("inf"), 1.0, -2.0])
torch.tensor([float("nan"), float("inf"), float("-inf")])
torch.tensor([float("nan"), 1.5])
torch.tensor([float("inf"), 1.25])
torch.tensor([0.0, -0.0])
torch.tensor([-1.5, 22.25, 333.125])
torch.tensor([[1, 200], [-3, 4]])
torch.tensor([[1.5, 200], [-3, 4]])
torch.arange(24).reshape(2, 3, 4)
torch.arange(24.0).reshape(2, 3, 4) / 7
torch.arange(16).reshape(2, 2, 2, 2)
torch.arange(2000)
torch.arange(2000.0).reshape(20, 100)
torch.zeros(1001)
torch.zeros(1000).shape
torch.arange(1001.0) / 3
torch.arange(40)
torch.arange(40.0) * 1.37
torch.arange(100.0).reshape(10, 10) * 0.1
torch.zeros(3, 400)
torch.zeros(11, 10, 10)
torch.tensor([True, False, True])
torch.tensor([[True], [False]])
torch.tensor(1.23456789)
torch.tensor(1234567.0)
torch.tensor(100000000.0)
torch.tensor(12345678.9, dtype=torch.float64)
torch.tensor(-3)
torch.tensor(float("nan"))
torch.tensor(float("-inf"))
torch.tensor(0.5, dtype=torch.float64)
torch.zeros(0)
torch.zeros(0, 3)
torch.zeros(2, 0)
torch.zeros(0, dtype=torch.int64)
torch.zeros(0, 2, dtype=torch.float64)
torch.zeros(0, requires_grad=True)
torch.zeros(2, dtype=torch.float64)
torch.zeros(2, dtype=torch.int32)
torch.zeros(2, dtype=torch.uint8)
torch.zeros(2, dtype=torch.float16)
torch.zeros(2, dtype=torch.float64, requires_grad=True)
torch.ones(2, requires_grad=True) * 2
torch.ones(2, requires_grad=True) + 1
torch.ones(2, requires_grad=True).sum()
torch.ones(2, requires_grad=True).mean()
torch.ones(2, 2, requires_grad=True).sum(0)
torch.ones(2, 2, requires_grad=True).mean(1)
torch.ones(2, requires_grad=True).exp()
torch.ones(2, requires_grad=True) ** 2
torch.ones(2, requires_grad=True) - torch.zeros(2)
torch.ones(2, requires_grad=True) / 3
2 / torch.ones(2, requires_grad=True)
1 - torch.ones(2, requires_grad=True)
-torch.ones(2, requires_grad=True)
torch.ones(2, requires_grad=True).view(1, 2)
torch.ones(2, 2, requires_grad=True).t()
torch.ones(2, 2, requires_grad=True)[0]
torch.ones(2, 2, requires_grad=True)[:, 1:]
torch.ones(2, 2, requires_grad=True)[0, 1]
torch.ones(3, requires_grad=True)[torch.tensor([0, 1])]
torch.ones(2, 3, requires_grad=True) @ torch.ones(3, 1)
torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2, requires_grad=True), torch.zeros(3))
torch.relu(torch.ones(2, requires_grad=True))
torch.sigmoid(torch.zeros(2, requires_grad=True))
torch.tanh(torch.zeros(2, requires_grad=True))
torch.softmax(torch.zeros(2, requires_grad=True), 0)
torch.log_softmax(torch.zeros(2, requires_grad=True), 0)
torch.cat([torch.ones(1, requires_grad=True), torch.ones(1)])
torch.stack([torch.ones(1, requires_grad=True), torch.ones(1)])
torch.ones(3, requires_grad=True).max()
torch.ones(2, 2, requires_grad=True).max(0)
torch.ones(2, requires_grad=True).clone()
torch.ones(2, requires_grad=True).abs().sqrt().log()
torch.ones(2, 1, requires_grad=True).squeeze()
torch.ones(2, requires_grad=True).unsqueeze(0)
torch.ones(2, requires_grad=True).double()
torch.ones(3, requires_grad=True).std()
torch.ones(3, requires_grad=True).norm()
torch.ones(3, requires_grad=True).clamp(0, 1)
torch.ones(3, requires_grad=True).prod()
torch.tensor([[1.0, 5.0], [7.0, 3.0]]).max(1)
torch.tensor([3, 1, 2]).sort()
torch.tensor([3.0, 1, 2]).topk(2)
torch.tensor([3.0, 1, 2]).median(0)
torch.aminmax(torch.tensor([3.0, 1, 2]))
torch.tensor([1.0, 2.0]).mode()
[torch.tensor(1.0), torch.tensor([2])]
{"a": torch.tensor(1.0)}
(torch.ones(1), torch.zeros(1))
str(torch.tensor([1.5]))
f"{torch.tensor(1.23456):.2f}"
f"{torch.tensor(3)}"
f"{torch.tensor([1.0, 2.0])}"
f"{torch.tensor(3):5d}|"
"{:.3f}".format(torch.tensor(2.0))
"%.2f" % torch.tensor(1.239)
"%s" % torch.tensor([1, 2])
format(torch.tensor(2.5))
format(torch.tensor([2.5]), ".2f")
torch.nn.Parameter(torch.ones(2))
torch.float32
[torch.int64, torch.bool, torch.uint8, torch.half, torch.double, torch.long]
torch.Size([2, 3])
torch.ones(2, 3).shape
torch.ones(2, 3).size()
torch.ones(2, 3).shape[1:]
torch.ones(2, 3).shape + (4,)
torch.ones(2, 3).dtype
torch.ones(2, 3).device
torch.finfo(torch.float32)
torch.finfo(torch.float64).eps
torch.finfo(torch.float32).tiny
torch.iinfo(torch.int32)
torch.iinfo(torch.uint8).max
torch.iinfo(torch.float32)
torch.tensor([1e10, 1e-10, 0.0])
torch.tensor([1e3, 1e-3])
torch.tensor([10000.0, 0.5])
torch.tensor([0.001, 0.002])
torch.tensor([99999.5, 3.25])
torch.tensor([[1e-3, 1.0], [10.0, 100.0]])
torch.tensor([1.0, 1000000.0])
torch.tensor([16777216.0, 1.0])
torch.tensor([1.5e38, -1.0])
"""
GROUPS["attributes"] = """
torch.ones(2, 3).size(0)
torch.ones(2, 3).size(-1)
torch.ones(2, 3).size(2)
torch.ones(2, 3).numel()
torch.ones(2, 3).nelement()
torch.ones(2, 3).dim()
torch.ones(2, 3).ndim
torch.ones(2, 3).ndimension()
torch.ones(2, 3).element_size()
torch.ones(2, 3).itemsize
torch.ones(2, 3).nbytes
torch.ones(2, 3).stride()
torch.ones(2, 3).t().stride()
torch.ones(2, 3).stride(0)
torch.ones(4)[1:].storage_offset()
torch.ones(2, 3).is_contiguous()
torch.ones(2, 3).t().is_contiguous()
torch.ones(2, 3).is_floating_point()
torch.tensor([1]).is_floating_point()
torch.tensor([1]).is_complex()
torch.tensor([1]).is_signed()
torch.ones(1).is_cuda
torch.ones(1).is_leaf
torch.ones(1).requires_grad
torch.ones(1).grad
torch.ones(1).grad_fn
torch.ones(1, requires_grad=True).is_leaf
(torch.ones(1, requires_grad=True) * 2).is_leaf
(torch.ones(1, requires_grad=True) * 2).grad_fn.name()
(torch.ones(1, requires_grad=True) * 2).grad_fn.next_functions[0][0].name()
torch.ones(1).type()
torch.tensor([1]).type()
torch.tensor([True]).type()
torch.ones(1, dtype=torch.float64).type()
torch.ones(1).type(torch.int64)
torch.ones(1).type("torch.LongTensor")
torch.ones(1).type(torch.DoubleTensor)
torch.ones(1).type_as(torch.tensor([1]))
torch.typename(torch.ones(1))
torch.is_floating_point(torch.ones(1))
torch.numel(torch.ones(2, 2))
torch.ones(1).layout
torch.ones(2).get_device()
torch.ones(2).is_pinned()
torch.ones(2).T.shape
torch.ones(2, 3).mT.shape
torch.ones(2).mT
torch.ones(2).real
torch.ones(2).is_sparse
torch.ones(2, 3).itemsize
torch.tensor(5).item()
torch.tensor([[2.5]]).item()
torch.ones(2).item()
torch.tensor([[1, 2], [3, 4]]).tolist()
torch.tensor(3.0).tolist()
float(torch.tensor(2.5))
int(torch.tensor(2.9))
int(torch.tensor([3]))
bool(torch.tensor(0.0))
bool(torch.tensor([1]))
bool(torch.ones(2))
bool(torch.zeros(0))
complex(torch.tensor(1.5))
len(torch.ones(2, 3))
len(torch.tensor(1))
list(torch.tensor([1, 2]))
[x.item() for x in torch.arange(3)]
[10, 20, 30][torch.tensor(1)]
[10, 20, 30][torch.tensor(1.0)]
range(3)[torch.tensor([2])]
3 in torch.tensor([1, 2, 3])
5 in torch.tensor([1, 2, 3])
"a" in torch.tensor([1])
hash(torch.ones(1)) == hash(torch.ones(1))
torch.ones(2).data
torch.ones(2, requires_grad=True).data
torch.ones(2, requires_grad=True).detach()
torch.ones(2).numpy()
torch.ones(2, requires_grad=True).numpy()
torch.ones(2, requires_grad=True).numpy(force=True)
torch.ones(2, requires_grad=True).tolist()
np.asarray(torch.ones(2))
np.exp(torch.zeros(2))
torch.ones(2) * np.array([1.0, 2.0])
torch.ones(2) * np.float64(3)
torch.tensor([1, 2]) + np.int64(3)
np.float32(2) * torch.ones(2)
torch.ones(2, 2).data_ptr() > 0
torch.ones(3).share_memory_().shape
torch.ones(2).cuda()
torch.ones(2).to("cuda")
torch.ones(2).to("nowhere")
torch.ones(2, device="cuda")
torch.ones(2).cpu()
torch.ones(2).to("cpu")
torch.ones(2).to(torch.device("cpu"))
torch.ones(2).to("cpu", torch.float64)
torch.ones(2).to(torch.float64)
torch.ones(2).to(torch.int64, copy=True)
torch.ones(2).to(dtype=torch.float64)
torch.ones(2).to(device="cpu", dtype=torch.int32)
torch.ones(2).to("cpu", non_blocking=True)
torch.ones(2).to(torch.tensor([1]))
torch.ones(2).to("cpu", "cpu")
torch.ones(2).half()
torch.ones(2).float().double().long().int().short().char().byte().bool()
torch.tensor([1.9, -1.9]).long()
torch.tensor([256, 1]).byte()
torch.tensor([0.0, 0.5]).bool()
"""
GROUPS["dtypes"] = """
torch.tensor([1, 2]) + 1.5
torch.tensor([1, 2]) / 2
torch.tensor([7, -7]) // 2
torch.tensor([7, -7]) % 3
torch.tensor([7.5, -7.5]) // 2
torch.tensor([7.5, -7.5]) % 2
torch.tensor([1, 2]) // 0
torch.tensor([1, 2]) % 0
torch.tensor([1.0, -1.0, 0.0]) // 0
torch.tensor([1.0, -1.0]) % 0
torch.fmod(torch.tensor([7, -7]), 3)
torch.tensor([True]) + True
torch.tensor([True]) + 1
torch.tensor([True]) * 2.5
torch.tensor([True]) - True
~torch.tensor([True, False])
~torch.tensor([1, 2])
~torch.tensor([1.0])
-torch.tensor([True])
torch.tensor([5, 3]) & 1
torch.tensor([5, 3]) | torch.tensor([2, 4])
torch.tensor([5, 3]) ^ 1
torch.tensor([True]) & torch.tensor([False])
torch.tensor([1.0]) & 1
torch.tensor([1, 2]) << 2
torch.tensor([8, 4]) >> 1
1 & torch.tensor([5])
torch.tensor([2, 3]) ** 2
torch.tensor([2, 3]) ** -1
torch.tensor([2.0, 3.0]) ** -1
2 ** torch.tensor([1, 2])
2.0 ** torch.tensor([1, 2])
torch.tensor([2, 3]) ** torch.tensor([2, 0])
torch.tensor([2, 3]) ** 0.5
torch.result_type(torch.tensor([1]), 1.0)
torch.result_type(torch.tensor([1.0]), torch.tensor(1.0, dtype=torch.float64))
torch.result_type(1, 2.0)
torch.promote_types(torch.uint8, torch.int8)
torch.can_cast(torch.float64, torch.float32)
torch.can_cast(torch.float32, torch.int64)
torch.get_default_dtype()
torch.tensor([200], dtype=torch.uint8) + 100
torch.tensor([100], dtype=torch.int8) * 2
torch.tensor([1, 2], dtype=torch.int32) + torch.tensor([1, 2])
torch.tensor([1], dtype=torch.uint8) + torch.tensor([-1], dtype=torch.int8)
torch.tensor([1.0]) + torch.tensor([1.0], dtype=torch.float64)
torch.tensor([1.0]) + torch.tensor(1.0, dtype=torch.float64)
torch.tensor([1, 2]).mean()
torch.tensor([1, 2]).float().mean()
torch.tensor([1, 2]).sum()
torch.tensor([1, 2], dtype=torch.int32).sum()
torch.tensor([True, True]).sum()
torch.tensor([1.5, 2.5]).sum(dtype=torch.int64)
torch.tensor([1, 2]).std()
torch.tensor([1, 2]).sqrt()
torch.tensor([1, 2]).exp()
torch.tensor([1, 4]).float().log()
torch.tensor([1, -2]).abs()
torch.tensor([2.5, 3.5, -0.5]).round()
torch.tensor([1, 2]).round()
torch.tensor([1, 2]).floor()
torch.tensor([1.25]).round(decimals=1)
torch.round(torch.tensor([123.456]), decimals=-1)
torch.tensor([1, 2]).clamp(0, 1.5)
torch.tensor([5, -5]).clamp(-1, 1)
torch.clamp(torch.tensor([1.0]))
torch.where(torch.tensor([True, False]), 1, 2)
torch.where(torch.tensor([True, False]), 1.0, torch.tensor([1, 2]))
torch.where(torch.tensor([1, 0]), 1, 2)
torch.tensor([1, 2]).masked_fill(torch.tensor([True, False]), 1.5)
torch.tensor([1.0, 2.0]).masked_fill(torch.tensor([1, 0]), 5)
torch.cat([torch.tensor([1]), torch.tensor([1.5])])
torch.stack([torch.tensor(1), torch.tensor(1.5)])
torch.maximum(torch.tensor([1]), torch.tensor([1.5]))
torch.eq(torch.tensor([1, 2]), torch.tensor([1.0, 3.0]))
torch.tensor([1, 2]) == 1
torch.tensor([1, 2]) == "a"
torch.tensor([1.0]) == None
torch.tensor([1, 2]) < 1.5
torch.equal(torch.tensor([1]), torch.tensor([1.0]))
torch.allclose(torch.tensor([1.0]), torch.tensor([1.0 + 1e-6]))
torch.allclose(torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64))
torch.isclose(torch.tensor([float("nan")]), torch.tensor([float("nan")]), equal_nan=True)
torch.tensor([3, 1]).argmax()
torch.tensor([True]).any()
torch.tensor([0, 1], dtype=torch.uint8).any()
torch.logical_and(torch.tensor([1, 0]), torch.tensor([2.0, 0.0]))
torch.bitwise_not(torch.tensor([1]))
torch.tensor([1, 2]).add_(1.5)
torch.tensor([1.0]).add_(torch.tensor([1.0], dtype=torch.float64))
torch.tensor([1, 2]).div_(2)
torch.tensor([4, 2]).floor_divide_(2)
torch.tensor([True]).add_(1)
torch.tensor([1, 2]).copy_(torch.tensor([1.9, 2.9]))
torch.tensor([1, 2]).fill_(2.7)
torch.zeros(2).fill_(torch.tensor(3.0))
torch.zeros(2).fill_(torch.ones(2))
torch.zeros(2).fill_("a")
torch.ones(2).zero_()
torch.tensor([1.0, 2.0]).mul_(2).sub_(1).pow_(2)
torch.tensor([1.0, 2.0]).sqrt_().exp_().neg_()
torch.tensor([1.0, -2.0]).abs_().clamp_(max=1.5)
torch.tensor([1, 2]).bool().logical_not_()
"""
GROUPS["shapes"] = """
torch.arange(6).view(2, 3)
torch.arange(6).view(-1, 2)
torch.arange(6).view(4, 2)
torch.arange(6).view((3, 2))
torch.arange(6).reshape(2, -1, 1).shape
torch.arange(6).reshape(-1, -1)
torch.arange(4.0).view(torch.int32)
torch.arange(6).view(2, 3).t()
torch.arange(6).view(2, 3).permute(1, 0)
torch.arange(6).view(2, 3).permute(0)
torch.arange(6).view(2, 3).transpose(0, 2)
torch.arange(3).expand(2, 3)
torch.arange(3).expand(2, 4)
torch.arange(3).expand(-1, 3)
torch.arange(3).expand(2, -1)
torch.arange(3).repeat(2)
torch.arange(3).repeat(2, 2)
torch.arange(4).view(2, 2).repeat(2)
torch.arange(3).tile(2)
torch.arange(3).repeat_interleave(2)
torch.repeat_interleave(torch.tensor([2, 1]))
torch.arange(3).repeat_interleave(torch.tensor([1, 2, 0]))
torch.arange(3).unsqueeze(2)
torch.arange(3).unsqueeze(1)
torch.ones(1, 2, 1).squeeze().shape
torch.ones(1, 2, 1).squeeze(0).shape
torch.ones(1, 2, 1).squeeze(1).shape
torch.ones(1, 2, 1).squeeze((0, 2)).shape
torch.ones(2).squeeze(1)
torch.arange(8).view(2, 2, 2).flatten(1)
torch.arange(8).view(2, 2, 2).flatten(2, 1)
torch.tensor(3).flatten()
torch.arange(6).unflatten(0, (2, 3))
torch.arange(6).unflatten(0, (2, 2))
torch.arange(5).split(2)
torch.arange(5).split([1, 4])
torch.arange(5).split([1, 3])
torch.arange(5).chunk(2)
torch.arange(5).chunk(0)
torch.arange(4).view(2, 2).unbind(1)
torch.tensor(1).unbind()
torch.arange(5).tensor_split(2)
torch.cat([torch.ones(1), torch.zeros(2)])
torch.cat([torch.ones(1, 2), torch.zeros(2)])
torch.cat([torch.ones(1, 2), torch.zeros(1, 3)])
torch.cat([])
torch.cat([torch.tensor(1), torch.tensor(2)])
torch.cat(torch.ones(2))
torch.cat([1, 2])
torch.cat((torch.ones(1, 2), torch.zeros(1, 2)), 1)
torch.cat([torch.ones(1)], 3)
torch.stack([torch.ones(1), torch.zeros(2)])
torch.stack([])
torch.hstack([torch.ones(1), torch.zeros(2)])
torch.vstack([torch.ones(2), torch.zeros(2)])
torch.arange(6).narrow(0, 1, 3)
torch.arange(6).narrow(0, 4, 3)
torch.arange(6).select(0, 2)
torch.arange(6).select(0, 6)
torch.arange(9).view(3, 3).diag()
torch.tensor([1, 2]).diag()
torch.arange(9).view(3, 3).triu()
torch.arange(9).view(3, 3).tril(-1)
torch.arange(3).triu()
torch.arange(4).flip(0)
torch.arange(4).flip(1)
torch.arange(4).roll(1)
torch.arange(4).view(2, 2).rot90()
torch.broadcast_shapes((2, 1), (3,))
torch.broadcast_shapes((2,), (3,))
torch.broadcast_to(torch.arange(2), (2, 2))
torch.broadcast_tensors(torch.arange(2), torch.ones(2, 1))
torch.ones(2) + torch.ones(3)
torch.ones(2).add_(torch.ones(2, 2))
torch.ones(2).copy_(torch.ones(3))
torch.ones(3).unfold(0, 2, 1)
torch.ones(3).unfold(0, 4, 1)
torch.movedim(torch.ones(2, 3, 4), 0, 2).shape
torch.atleast_2d(torch.tensor(1))
torch.ones(2, 3).contiguous().shape
torch.ones(2, 3).swapaxes(0, 1).shape
torch.arange(6).view(2, 3)[:, None].shape
torch.block_diag(torch.ones(1, 1), torch.ones(2, 2))
torch.ones(1, 3).resize_(3).shape
torch.ones(2, 1).squeeze_().shape
torch.ones(2).unsqueeze_(1).shape
torch.ones(2, 3).t_().shape
torch.ones(2, 3).transpose_(0, 1).shape
torch.ones(3).view_as(torch.ones(3, 1)).shape
torch.ones(2, 3).ravel().shape
torch.empty(2, 3).numel()
"""
GROUPS["indexing"] = """
torch.arange(6)[2]
torch.arange(6)[-1]
torch.arange(6)[6]
torch.arange(6)[1:4]
torch.arange(6)[::2]
torch.arange(6)[::-1]
torch.arange(6)[[0, 2]]
torch.arange(6)[torch.tensor([0, 2])]
torch.arange(6)[torch.tensor([True, False, True, False, False, False])]
torch.arange(6)[torch.tensor([True, False])]
torch.arange(6)[torch.arange(6) > 2]
torch.arange(6)[np.array([1, 2])]
torch.arange(6)[None].shape
torch.arange(6)[...]
torch.arange(6)[True].shape
torch.arange(6)[0, 0]
torch.arange(6)[1.0]
torch.arange(6)["a"]
torch.arange(6)[torch.tensor([7])]
torch.arange(6)[torch.tensor(2)]
torch.arange(6)[torch.tensor(2.0)]
torch.arange(6).view(2, 3)[1]
torch.arange(6).view(2, 3)[:, 1]
torch.arange(6).view(2, 3)[1, 1:]
torch.arange(6).view(2, 3)[..., -1]
torch.arange(6).view(2, 3)[[0, 1], [1, 2]]
torch.arange(6).view(2, 3)[:, [0, 2]]
torch.arange(6).view(2, 3)[torch.tensor([[0, 1]])].shape
torch.arange(24).view(2, 3, 4)[0, :, [1, 2]].shape
torch.arange(24).view(2, 3, 4)[[0, 1], :, [1, 2]].shape
torch.arange(24).view(2, 3, 4)[0, [1, 2]]
torch.arange(24).view(2, 3, 4)[[1, 2], 0]
torch.arange(24).view(2, 3, 4)[1, ..., [0, 3]]
torch.arange(24).view(2, 3, 4)[1, None, [0, 2], 1:]
torch.arange(24).view(2, 3, 4)[0, torch.tensor([True, False, True])]
torch.arange(24).view(2, 3, 4)[torch.tensor(1), :, torch.tensor([1, 2])].shape
torch.arange(24).view(2, 3, 4)[np.int64(1), 0]
(lambda x: (x.__setitem__((0, slice(None), [1, 2]), 7), x)[1])(torch.zeros(2, 2, 3))
(lambda x: (x.__setitem__((1, torch.tensor([0, 1])), torch.ones(2, 3)), x)[1])(torch.zeros(2, 2, 3))
torch.arange(6).gather(0, torch.tensor([1, 1]))
torch.arange(6).gather(0, torch.tensor([7]))
torch.arange(6).gather(0, torch.tensor([-1]))
torch.arange(6).view(2, 3).gather(1, torch.tensor([[0], [2]]))
torch.arange(6).view(2, 3).gather(1, torch.tensor([0]))
torch.arange(6).gather(0, torch.tensor([1.0]))
torch.zeros(3).scatter(0, torch.tensor([1]), 5)
torch.zeros(3).scatter(0, torch.tensor([1]), torch.tensor([5.0]))
torch.zeros(3).scatter_(0, torch.tensor([5]), 1.0)
torch.zeros(2, 3).scatter_(1, torch.tensor([[1], [2]]), 1)
torch.zeros(3).scatter_add_(0, torch.tensor([1, 1]), torch.ones(2))
torch.zeros(3).index_add_(0, torch.tensor([1, 1]), torch.ones(2))
torch.zeros(3).index_fill_(0, torch.tensor([1]), 2)
torch.zeros(3).index_copy_(0, torch.tensor([1]), torch.ones(1))
torch.arange(6).index_select(0, torch.tensor([1, 1]))
torch.arange(6).index_select(0, torch.tensor([6]))
torch.arange(6).index_select(1, torch.tensor([0]))
torch.arange(6).take(torch.tensor([0, -1]))
torch.arange(6).masked_select(torch.arange(6) > 3)
torch.arange(6).masked_select(torch.tensor([1]))
torch.zeros(3).masked_fill_(torch.tensor([True, False, True]), 2)
torch.zeros(3).masked_scatter_(torch.tensor([True, False, True]), torch.tensor([1.0, 2.0]))
torch.nonzero(torch.tensor([0, 1, 2]))
torch.nonzero(torch.tensor([[0, 1], [2, 0]]), as_tuple=True)
torch.tensor([0, 1, 2]).nonzero().squeeze()
torch.argwhere(torch.tensor([0, 1]))
torch.where(torch.tensor([0, 1, 1]))
torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 4]))
torch.bucketize(torch.tensor([1.5, 4]), torch.tensor([1.0, 2.0, 3.0]))
torch.take_along_dim(torch.tensor([[3, 1]]), torch.tensor([[1]]), 1)
(lambda x: (x.__setitem__(0, 5), x)[1])(torch.zeros(2))
(lambda x: (x.__setitem__(slice(None), torch.tensor([1, 2])), x)[1])(torch.zeros(2))
(lambda x: (x.__setitem__(x > 1, 0), x)[1])(torch.arange(4))
(lambda x: (x.__setitem__((0, 1), 5), x)[1])(torch.zeros(2, 2))
(lambda x: (x.__setitem__([0, 1], torch.tensor([3.0, 4.0])), x)[1])(torch.zeros(3))
(lambda x: (x.__setitem__(3, 5), x)[1])(torch.zeros(2))
(lambda x: (x.__setitem__(0, [1.0]), x)[1])(torch.zeros(2))
(lambda x: (x.__setitem__(0, "a"), x)[1])(torch.zeros(2))
(lambda x: (x.__setitem__(slice(None), torch.ones(3)), x)[1])(torch.zeros(2))
(lambda x: (x.__setitem__(0, torch.tensor(5)), x)[1])(torch.zeros(2))
(lambda x: (x.__setitem__(0, 2.7), x)[1])(torch.tensor([1, 2]))
(lambda x: (x.__setitem__(torch.tensor([0]), torch.tensor([2])), x)[1])(torch.zeros(2))
"""
GROUPS["reductions"] = """
torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(1)
torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(dim=(0, 1))
torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(2)
torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum((0, 0))
torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(axis=0)
torch.tensor([[1.0, 2.0], [3.0, 4.0]]).mean(0, keepdim=True)
torch.tensor([[1.0, 2.0], [3.0, 4.0]]).mean(dim=1, keepdims=True)
torch.tensor([]).mean()
torch.tensor([]).sum()
torch.tensor([]).max()
torch.tensor([]).prod()
torch.tensor([1.0]).std()
torch.tensor([1.0, 2.0, 4.0]).std()
torch.tensor([1.0, 2.0, 4.0]).var(unbiased=False)
torch.std(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), 0)
torch.std(torch.tensor([1.0, 2.0]), correction=0)
torch.var_mean(torch.tensor([1.0, 2.0]))
torch.tensor([[1, 2], [3, 4]]).prod(0)
torch.tensor([3.0, float("nan")]).max()
torch.tensor([3.0, float("nan")]).min()
torch.tensor([3.0, float("nan")]).argmax()
torch.tensor([3.0, float("nan")]).nansum()
torch.tensor([[1, 5], [7, 3]]).max(dim=1)
torch.tensor([[1, 5], [7, 3]]).max(1, keepdim=True).values
torch.tensor([[1, 5], [7, 3]]).max(1)[1]
torch.max(torch.tensor([1, 5]), torch.tensor([4, 2]))
torch.min(torch.tensor([[1, 5], [7, 3]]), 0)
torch.tensor([1, 5]).max(1)
torch.tensor([[1, 5], [7, 3]]).argmax(1)
torch.tensor([[1, 5], [7, 3]]).argmax()
torch.tensor([[1, 5], [7, 3]]).argmin(dim=0, keepdim=True)
torch.argmax(torch.tensor([[1, 5], [7, 3]]), dim=-1)
torch.tensor([[1, 5], [7, 3]]).amax(1)
torch.tensor([2.0, 1.0, 3.0]).median()
torch.tensor([2.0, 1.0]).median()
torch.tensor([1.0, float("nan"), 3.0]).median()
torch.tensor([1.0, float("nan"), 3.0]).nanmedian()
torch.tensor([1, 1, 2]).mode()
torch.tensor([1.0, 2.0, 3.0, 4.0]).quantile(0.5)
torch.tensor([1.0, 2.0, 3.0, 4.0]).quantile(torch.tensor([0.25, 0.75]))
torch.tensor([1.0]).quantile(1.5)
torch.tensor([1, 2]).quantile(0.5)
torch.tensor([1, 2, 3]).cumsum(0)
torch.tensor([1, 2, 3]).cumprod(0)
torch.tensor([3, 1, 2]).cummax(0)
torch.tensor([1.0, 2.0]).logsumexp(0)
torch.tensor([3.0, 4.0]).norm()
torch.tensor([3.0, 4.0]).norm(1)
torch.tensor([[3.0, 4.0]]).norm(dim=1)
torch.tensor([3, 4]).norm()
torch.norm(torch.tensor([3.0, 4.0]), p=float("inf"))
torch.linalg.norm(torch.tensor([3.0, 4.0]))
torch.dist(torch.tensor([3.0, 4.0]), torch.zeros(2))
torch.tensor([1, 0]).all()
torch.tensor([[1, 0], [1, 1]]).all(1)
torch.tensor([0, 0]).any()
torch.count_nonzero(torch.tensor([0, 1, 2]))
torch.tensor([3, 1, 3]).unique()
torch.unique(torch.tensor([3, 1, 3]), return_counts=True)
torch.unique(torch.tensor([3, 1, 3]), return_inverse=True)
torch.unique_consecutive(torch.tensor([1, 1, 2, 1]))
torch.bincount(torch.tensor([1, 1, 3]))
torch.bincount(torch.tensor([1.0]))
torch.bincount(torch.tensor([-1]))
torch.histc(torch.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
torch.tensor([3, 1, 2]).topk(2)
torch.tensor([3, 1, 2]).topk(4)
torch.tensor([3, 1, 2]).sort(descending=True)
torch.tensor([3, 1, 2]).argsort()
torch.tensor([3, 1, 2]).kthvalue(2)
torch.tensor([3, 1, 2]).kthvalue(4)
torch.msort(torch.tensor([3, 1, 2]))
torch.diff(torch.tensor([1, 3, 6]))
torch.softmax(torch.tensor([1.0, 2.0]), dim=0)
torch.softmax(torch.tensor([1, 2]), dim=0)
torch.tensor([1.0, 2.0]).softmax(-1)
torch.tensor([1.0, 2.0]).softmax(1)
torch.sum(torch.ones(2, 2), dim=1)
torch.mean(torch.ones(2, 2), 1, True)
torch.sum([1, 2])
torch.cov(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
torch.corrcoef(torch.tensor([[1.0, 2.0, 4.0], [3.0, 5.0, 4.0]]))
torch.add(torch.ones(2), 1, out=torch.zeros(2))
torch.add(torch.ones(2), torch.ones(2, requires_grad=True), out=torch.zeros(2))
"""
GROUPS["products"] = """
torch.ones(2, 3) @ torch.ones(3)
torch.ones(2, 3) @ torch.ones(2)
torch.ones(2, 3).mm(torch.ones(3))
torch.ones(2, 3).matmul(torch.ones(3, 2))
torch.tensor([[1, 2], [3, 4]]) @ torch.tensor([[1], [1]])
torch.ones(2, 2) @ torch.ones(2, 2, dtype=torch.float64)
torch.ones(2, 2) @ torch.tensor(1.0)
torch.ones(2, 2) @ [1, 2]
torch.matmul(torch.ones(2), torch.ones(2))
torch.dot(torch.ones(2), torch.ones(3))
torch.dot(torch.ones(2, 2), torch.ones(2))
torch.mv(torch.ones(2, 3), torch.ones(3))
torch.bmm(torch.ones(2, 2, 2), torch.ones(2, 2, 1)).shape
torch.bmm(torch.ones(2, 2), torch.ones(2, 2))
torch.outer(torch.arange(2), torch.arange(3))
torch.addmm(torch.ones(2), torch.ones(3, 2), torch.ones(2, 2))
torch.addmm(torch.ones(3), torch.ones(3, 2), torch.ones(2, 2))
torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 2))
torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(2, 2))
torch.einsum("ii", torch.eye(3))
torch.tensordot(torch.ones(2, 3), torch.ones(3, 2), 1)
torch.kron(torch.eye(2), torch.ones(1, 2))
torch.cross(torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), dim=0)
torch.trace(torch.eye(3))
torch.det(torch.eye(2) * 2)
torch.inverse(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
torch.linalg.inv(torch.zeros(2, 2))
torch.linalg.inv(torch.ones(2, 3))
torch.linalg.solve(torch.eye(2) * 2, torch.ones(2))
torch.linalg.cholesky(torch.eye(2) * 4)
torch.linalg.cholesky(-torch.eye(2))
torch.linalg.eigvalsh(torch.diag(torch.tensor([2.0, 1.0])))
torch.linalg.matrix_rank(torch.eye(3))
torch.linalg.slogdet(torch.eye(2) * 2)
torch.linalg.eigh(torch.diag(torch.tensor([1.0, 2.0]))).eigenvalues
torch.linalg.svdvals(torch.diag(torch.tensor([1.0, 2.0])))
torch.linalg.matrix_power(torch.tensor([[1, 1], [0, 1]]), 3)
torch.linalg.vector_norm(torch.tensor([3.0, 4.0]))
torch.cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
torch.trapezoid(torch.tensor([1.0, 2.0, 3.0]))
"""
GROUPS["maths"] = """
torch.lerp(torch.tensor([0.0, 10.0]), torch.tensor([1.0, 20.0]), 0.5)
torch.addcmul(torch.zeros(1), torch.ones(1), torch.ones(1), value=3)
torch.addcdiv(torch.zeros(1), torch.ones(1), torch.full((1,), 2.0))
torch.addcdiv(torch.zeros(1), torch.tensor([1]), torch.tensor([2]))
torch.heaviside(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0.5]))
torch.hypot(torch.tensor([3.0]), torch.tensor([4.0]))
torch.atan2(torch.tensor([1.0]), torch.tensor([1.0]))
torch.gcd(torch.tensor([12]), torch.tensor([18]))
torch.lcm(torch.tensor([4]), torch.tensor([6]))
torch.sign(torch.tensor([-2.0, 0.0, 3.0, float("nan")]))
torch.sgn(torch.tensor([-2.0]))
torch.frac(torch.tensor([1.5, -1.5]))
torch.trunc(torch.tensor([1.5, -1.5]))
torch.reciprocal(torch.tensor([2, 4]))
torch.rsqrt(torch.tensor([4.0]))
torch.nan_to_num(torch.tensor([float("nan"), float("inf")]), posinf=5.0)
torch.xlogy(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0]))
torch.logaddexp(torch.tensor([0.0]), torch.tensor([0.0]))
torch.erf(torch.tensor([0.5]))
torch.lgamma(torch.tensor([3.0]))
torch.digamma(torch.tensor([1.0]))
torch.square(torch.tensor([3]))
torch.deg2rad(torch.tensor([180.0]))
torch.isinf(torch.tensor([float("inf"), 1.0]))
torch.isfinite(torch.tensor([1, 2]))
torch.signbit(torch.tensor([-0.0, 1.0]))
torch.add(torch.ones(1), 2, alpha=3)
torch.mul(2, torch.tensor([1.5]))
torch.sub(2, torch.tensor([1]))
torch.div(3, torch.tensor([2]))
torch.add(torch.tensor([1]), 2, alpha=1.5)
torch.sub(torch.ones(1), torch.ones(1), alpha=2)
torch.div(torch.tensor([7]), 2, rounding_mode="floor")
torch.div(torch.tensor([-7]), 2, rounding_mode="trunc")
torch.div(torch.tensor([7.0]), 2, rounding_mode="up")
torch.true_divide(torch.tensor([1]), 2)
torch.pow(2, torch.tensor([3.0]))
torch.pow(torch.tensor([2.0]), torch.tensor([3]))
torch.exp(1.0)
torch.sin([1.0])
torch.relu(torch.tensor([-1, 1]))
torch.sigmoid(torch.tensor([0]))
torch.tanh(torch.tensor([0]))
torch.ones(2) + "a"
torch.ones(2) + None
torch.ones(2) + [1, 2]
torch.ones(2) * (1, 2)
"a" + torch.ones(2)
torch.ones(2) > "a"
torch.ones(2) < None
abs(torch.tensor([-1]))
+torch.tensor([1])
pow(torch.tensor([2]), 3)
round(torch.tensor(2.567).item(), 2)
divmod(7, 2)
sum(torch.ones(3))
max(torch.tensor([1, 3, 2]))
sorted(torch.tensor([3, 1, 2]))
math.sqrt(torch.tensor(4.0))
torch.clamp(torch.tensor([1.0, float("nan")]), 0, 0.5)
torch.copysign(torch.tensor([1.0]), -0.0)
torch.remainder(torch.tensor([-3.0]), 2)
torch.fmod(torch.tensor([-3.0]), 2)
torch.float_power(torch.tensor([2]), 2)
torch.logical_xor(torch.tensor([True]), torch.tensor([True]))
"""
GROUPS["autograd"] = """
torch.ones(2, requires_grad=True).backward()
torch.ones(1).backward()
torch.autograd.grad(torch.ones(1), torch.ones(1))
torch.autograd.grad(torch.ones(1, requires_grad=True).sum(), torch.ones(1))
torch.autograd.grad(torch.ones(1, requires_grad=True).sum(), torch.ones(1, requires_grad=True))
torch.autograd.grad(torch.ones(1, requires_grad=True).sum(), torch.ones(1, requires_grad=True), allow_unused=True)
(lambda x: torch.autograd.grad((x * x).sum(), x))(torch.tensor([3.0], requires_grad=True))
(lambda x: torch.autograd.grad(x * x, x))(torch.ones(2, requires_grad=True))
(lambda x: torch.autograd.grad(x * x, x, torch.ones(3)))(torch.ones(2, requires_grad=True))
(lambda x: torch.autograd.grad(x * x, [x], [torch.ones(2)]))(torch.ones(2, requires_grad=True))
(lambda x: torch.autograd.grad(x * x, x, torch.eye(2), is_grads_batched=True))(torch.ones(2, requires_grad=True))
torch.autograd.functional.jacobian(lambda x: x * x, torch.tensor([1.0, 2.0]))
torch.autograd.functional.hessian(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]))
torch.autograd.functional.vjp(lambda x: x * x, torch.ones(2), torch.ones(2))
torch.autograd.functional.jvp(lambda x: x * x, torch.ones(2), torch.ones(2))
torch.autograd.Variable(torch.ones(1), requires_grad=True)
isinstance(torch.ones(1), torch.autograd.Variable)
torch.ones(1, requires_grad=True).add_(1)
torch.ones(2, requires_grad=True)[0].add_(1)
torch.ones(1, requires_grad=True).detach().add_(1)
torch.tensor([1], requires_grad=True)
torch.ones(1).requires_grad_()
(torch.ones(1, requires_grad=True) * 2).requires_grad_(False)
torch.is_grad_enabled()
torch.is_inference_mode_enabled()
torch.ones(1).register_hook(print)
torch.ones(1).retain_grad()
torch.ones(1, requires_grad=True).retains_grad
"""

EXPRESSIONS = [(group, line) for group, text in GROUPS.items() for line in text.strip().splitlines()]


def outcome(lib: Any, expression: str) -> Any:
    """The value of an expression, or the exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return eval(expression, {"torch": lib, "np": np, "math": math})
        except Exception as error:
            return error


def described(value: Any) -> str:
    """The value as it is printed; of an exception the classes that ``except`` may name."""
    if isinstance(value, Exception):
        kinds = [c.__name__ for c in type(value).__mro__ if issubclass(c, Exception) and c is not Exception]
        return "!" + " ".join(kinds)
    return repr(value)
