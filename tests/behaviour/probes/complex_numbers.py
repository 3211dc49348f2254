"""Probes of complex numbers: creation, arithmetic, parts, Fourier transforms, and what is refused."""

from __future__ import annotations

from probes.tables import lines, product

UNARY = """
torch.<f>(<z>)
<z>.<f>()
"""
FUNCTIONS = """
abs angle real imag conj exp log sqrt sin cos tan sinh cosh tanh square sgn neg reciprocal isfinite isnan isreal
sigmoid rsqrt view_as_real sum mean prod clone is_complex resolve_conj log10 acos atan
relu floor ceil sign round max argmax sort median erf lgamma softplus logit trunc
"""
METHODS = """
abs angle conj exp sqrt sum mean prod clone detach contiguous is_complex is_floating_point numel dim size stride
element_size t cfloat cdouble isnan relu floor max min argmax sort var std norm
"""
ATTRIBUTES = "dtype shape ndim real imag T H mT mH requires_grad is_leaf device itemsize nbytes"
BINARY = """
<a> + <b>
<a> - <b>
<a> * <b>
<a> / <b>
<b> - <a>
<b> / <a>
<a> == <b>
torch.add(<a>, <b>)
torch.mul(<a>, <b>)
torch.result_type(<a>, <b>)
<a> < <b>
<a> % <b>
torch.maximum(<a>, torch.as_tensor(<b>))
"""
SECOND = """
z64
z128
torch.tensor(1j)
torch.tensor(2j, dtype=torch.complex128)
matrix
double_matrix
a_int64
mask
torch.tensor(2.0)
torch.tensor(2.0, dtype=torch.float64)
2
2.5
True
1j
"""
GENERAL = """
torch.tensor(1j)
torch.tensor([1 + 2j, 3])
torch.tensor([1 + 2j, 3], dtype=torch.complex128)
torch.tensor([1.0, 2.0], dtype=torch.complex64)
torch.tensor(z64)
torch.tensor(z64.numpy())
torch.tensor(z64.numpy(), dtype=torch.complex128)
torch.as_tensor(z128.numpy()).dtype
torch.as_tensor([1j])
torch.asarray(z64.numpy())
torch.from_numpy(np.ones((2, 2), np.complex64))
torch.from_numpy(np.ones(2, np.complex128)[::2])
torch.zeros(2, dtype=torch.complex64)
torch.ones(2, 2, dtype=torch.cdouble)
torch.full((2,), 1j)
torch.full((2,), 2, dtype=torch.complex64)
torch.empty(2, dtype=torch.complex64).shape
torch.zeros_like(z64)
torch.ones_like(z128)
torch.complex(matrix, other)
torch.complex(matrix, vector)
torch.complex(double_matrix, double_matrix)
torch.complex(matrix, double_matrix)
torch.complex(a_int64, a_int64)
torch.polar(unit, matrix)
torch.view_as_complex(cube.reshape(3, 4, 2))
torch.view_as_complex(matrix)
torch.view_as_complex(vector[:2])
torch.view_as_real(matrix)
torch.angle(matrix)
torch.angle(a_int64)
torch.real(matrix)
torch.imag(matrix)
matrix.imag
matrix * 1j
1j * matrix
matrix + 1j
1j - matrix
matrix / 1j
1j / unit
a_int64 * 1j
double_matrix - 2j
matrix ** 1j
1j @ matrix
then(matrix.clone(), lambda t: t.add_(1j))
then(matrix.clone(), lambda t: t.mul_(z64))
then(z64.clone(), lambda t: t.add_(1))
then(z64.clone(), lambda t: t.mul_(1j))
then(z64.clone(), lambda t: t.div_(2))
then(z64.clone(), lambda t: t.sub_(matrix))
then(z64.clone(), lambda t: t.zero_())
then(z64.clone(), lambda t: t.copy_(matrix))
then(z64.clone(), lambda t: t.__setitem__(0, 5))
then(z64.clone(), lambda t: t.__setitem__((0, 1), 1j))
then(z64.clone(), lambda t: t.real.zero_())
then(z64.clone(), lambda t: t.imag.add_(1))
then(z64.clone(), lambda t: torch.view_as_real(t).mul_(2))
then(matrix.clone(), lambda t: t.__setitem__(0, z64[0]))
z64[0]
z64[0, 1]
z64[:, 1:]
z64[0, 1].item()
z64[None].shape
z64[torch.tensor([1, 0])]
z64[mask]
z64.reshape(3, 2)
z64.view(-1)
z64.flatten()
z64.t()
z64.permute(1, 0)
z64.unsqueeze(0).squeeze()
z64.expand(2, 2, 3)
z64.split(1)
z64.chunk(3, 1)
z64.unbind(1)
z64.flip(0)
z64.roll(1, 0)
z64.diagonal()
z64.tolist()
z64.numpy().dtype.name
z64.to(torch.complex128)
z64.to(torch.float64)
z64.float()
z64.type()
z64.type(torch.complex128)
matrix.to(torch.complex64)
matrix.cfloat()
a_int64.cdouble()
matrix.to(z128)
z128.to(matrix)
torch.cat([z64, z64])
torch.cat([z64, matrix])
torch.stack([z64, z64], 1)
torch.where(mask, z64, z64 * 2)
z64 @ z64.t()
z64 @ matrix.t()
torch.dot(z64[0], z64[1])
torch.vdot(z64[0], z64[1])
torch.outer(z64[0], z64[1])
torch.equal(z64, z64)
torch.allclose(z64, z64)
torch.isclose(z64, z64 + 1e-9)
z64.sum(0)
z64.sum(1, keepdim=True)
z64.mean(1)
z64.prod(0)
z64.cumsum(1)
z64.cumprod(0)
len(z64)
list(z64)
bool(torch.tensor(1j))
complex(torch.tensor(1j))
float(torch.tensor(1j))
int(torch.tensor(1j))
z64 > 1
z64.requires_grad
str(z64)
repr(z128)
str(torch.tensor(1 + 2j))
repr(torch.tensor([1.5 + 2j, -3e5j]))
repr(torch.tensor([], dtype=torch.complex64))
f"{torch.tensor(1.25 + 2j):.1f}"
torch.is_complex(z64)
torch.is_floating_point(z64)
torch.is_tensor(z64)
torch.numel(z64)
torch.promote_types(torch.complex64, torch.float64)
torch.promote_types(torch.int64, torch.complex64)
torch.can_cast(torch.float32, torch.complex64)
torch.can_cast(torch.complex64, torch.float32)
torch.complex64.to_real()
torch.float64.to_complex()
torch.int64.to_complex()
torch.finfo(torch.complex128).bits
torch.iinfo(torch.complex64)
torch.set_default_dtype(torch.complex64)
copy.deepcopy(z64)
saved(z64)
saved(torch.complex64)
nn.Identity()(z64)
nn.Flatten(0)(z64)
nn.ReLU()(z64)
nn.Linear(3, 2)(z64)
F.relu(z64)
F.softmax(z64, 1)
F.linear(z64, z64)
F.mse_loss(z64, z64)
F.cross_entropy(z64, labels)
nn.BatchNorm1d(3)(z64)
torch.fft.fft(matrix)
torch.fft.fft(z64)
torch.fft.fft(double_matrix).dtype
torch.fft.fft(a_int64)
torch.fft.fft(matrix.half())
torch.fft.fft(matrix, n=5)
torch.fft.fft(matrix, n=2, dim=0)
torch.fft.fft(matrix, norm="ortho")
torch.fft.fft(matrix, norm="forward")
torch.fft.fft(matrix, norm="x")
torch.fft.fft(matrix, dim=3)
torch.fft.fft(matrix, n=0)
torch.fft.ifft(torch.fft.fft(matrix))
torch.fft.rfft(matrix)
torch.fft.irfft(torch.fft.rfft(matrix), n=3)
torch.fft.rfft(z64)
torch.fft.hfft(z64, n=3)
torch.fft.ihfft(matrix)
torch.fft.fft2(cube)
torch.fft.fftn(cube)
torch.fft.fftn(cube, dim=(0, 2))
torch.fft.fftn(cube, s=(2, 2))
torch.fft.ifft2(z64)
torch.fft.rfft2(cube)
torch.fft.irfft2(torch.fft.rfft2(cube))
torch.fft.rfftn(cube).shape
torch.fft.irfftn(torch.fft.rfftn(cube)).shape
torch.fft.fftshift(z64)
torch.fft.fft(scalar)
torch.fft.fft(None)
"""

GROUPS = {
    "complex numbers": [
        *product("torch.<f>(<z>)", f=" ".join(FUNCTIONS.split()), z="z64 z128"),
        *product("<z>.<f>()", f=" ".join(METHODS.split()), z="z64 z128"),
        *product("<z>.<f>", f=ATTRIBUTES, z="z64 z128"),
        *lines(GENERAL),
    ],
    "arithmetic of complex numbers": product(lines(BINARY), a="z64 z128", b=SECOND),
}
