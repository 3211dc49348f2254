"""The recipes of CONTRIBUTING.md, followed for a toy activation, loss, optimizer and layer in a copy of the tree."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from helpers import run_python

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

# Names to put into the paths of a recipe: its kernel's, and the family of the kernel and of the layer.
NAMES = {
    "Add an optimizer": {"NAME": "signs"},
    "Add a layer": {"NAME": "gain", "kernels/FAMILY": "kernels/norm", "FAMILY": "normalization"},
}
# For each recipe the files of the library that it names, and what is done to them: text before which other text goes,
# or None for a new file.
RECIPES: dict[str, list[tuple[str, str | None, str]]] = {
    "Add an activation": [
        ("kernels/activation/elementwise_activations.py", "_FORWARD_WORDS = Words(", """def _cube(x, a, b, c):
    return x * x * x


def _cube_backward(dy, x, a, b, c):
    return dy * x * x * type(x)(3)


_register(
    "cube", value=_cube, derivative=_cube_backward, cost=3, formula=lambda m, x, n, a, b, c: x * x * x,
)


"""),
        ("fastnn/nn/activation.py", "def softplus(", """def cube(input: Tensor) -> Tensor:
    return _elementwise(input, "cube")


class Cube(_Elementwise):
    def forward(self, input: Tensor) -> Tensor:
        return cube(input)


"""),
        ("fastnn/nn/activation.py", '"Mish", "PReLU"', '"Cube", '),
        ("fastnn/nn/activation.py", '"mish", "prelu"', '"cube", '),
    ],
    "Add a loss of a number against a number": [
        ("kernels/loss/losses.py", "@inline\ndef l1(", """@inline
def energy(x, y, a):
    d = x - y
    return type(d)(0.5) * d * d, d


_register(energy, slopes=lambda m, x, y, a: (x - y, y - x), cost=3)


"""),
        ("fastnn/nn/loss.py", "def l1_loss(", """_ENERGY = Pointwise("energy", reads="xy")


def energy_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    return _difference_loss(_ENERGY, input, target, reduction, 0.0, None, True)


class EnergyLoss(_Loss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return energy_loss(input, target, reduction=self.reduction)


"""),
        ("fastnn/nn/loss.py", '"MSELoss", "PoissonNLLLoss"', '"EnergyLoss", '),
        ("fastnn/nn/loss.py", '"mse_loss", "poisson_nll_loss"', '"energy_loss", '),
    ],
    "Add an optimizer": [
        ("kernels/optim/NAME.py", None, """from fastnn.kernels.optim.optimizers import bounds, factor, numbers, update
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, inline, integer


@inline
def _signs_step(p, g, lr):
    for i in range(p.size):
        p[i] -= lr if g[i] > 0 else -lr if g[i] < 0 else type(lr)(0)


_WORDS = Words("parameters gradients hyper scale; size")


def _signs(dtype):
    def signs_slice(args, t, n):
        # parameters, gradients: all [size]
        size, hyper = integer(args, _WORDS.size), numbers(args, _WORDS.hyper)
        lo, hi = bounds(size, t, n)
        p = array(args, _WORDS.parameters, (size,), dtype)[lo:hi]
        g = array(args, _WORDS.gradients, (size,), dtype)[lo:hi]
        _signs_step(p, g, dtype(hyper[0] * (1 if factor(args, _WORDS.scale) else 0)))

    return signs_slice


_SIGNS = by_dtype("signs", _signs, _WORDS)


def signs(parameters, gradients, *, lr, grad_scale=None, hyper=None):
    arrays = parameters, gradients
    return update(_SIGNS, 3, ("parameters", "gradients"), arrays, (), (lr, 0.0), grad_scale, hyper)
"""),
        ("fastnn/optim/NAME.py", None, """from fastnn.kernels.optim.signs import signs
from fastnn.optim.elementwise import Elementwise


class Signs(Elementwise):
    _arrays = ()

    def __init__(self, params, lr=1e-2):
        super().__init__(params, {"lr": lr, "maximize": False, "foreach": None, "differentiable": False, "fused": None})

    def _update(self, cut, grads, group):
        return signs(cut.values, grads, lr=group["lr"], hyper=cut.hyper, grad_scale=cut.grad_scale)
"""),
    ],
    "Add a layer": [
        ("kernels/FAMILY/NAME.py", None, """from fastnn.kernels.runtime.checks import check, check_output, kernel_for, matrix_shape
from fastnn.kernels.runtime.compiler import Words, array, by_dtype, inline, integer, part
from fastnn.kernels.runtime.launcher import launch
from fastnn.kernels.runtime.thread_count import chunks_for


@inline
def _multiply(out, x, weight):
    for j in range(x.size):
        out[j] = x[j] * weight[j]


_FORWARD_WORDS = Words("out x weight; rows columns")


def _forward(dtype):
    def gain_forward_slice(args, t, n):
        rows, columns = integer(args, _FORWARD_WORDS.rows), integer(args, _FORWARD_WORDS.columns)
        out = array(args, _FORWARD_WORDS.out, (rows, columns), dtype)
        x = array(args, _FORWARD_WORDS.x, (rows, columns), dtype)
        weight = array(args, _FORWARD_WORDS.weight, (columns,), dtype)
        first, last = part(rows, t, n)
        for i in range(first, last):
            _multiply(out[i], x[i], weight)

    return gain_forward_slice


_BACKWARD_WORDS = Words("dx dweight dy x weight; rows columns accumulate")


def _backward(dtype):
    def gain_backward_slice(args, t, n):
        rows, columns = integer(args, _BACKWARD_WORDS.rows), integer(args, _BACKWARD_WORDS.columns)
        dx = array(args, _BACKWARD_WORDS.dx, (rows, columns), dtype)
        dweight = array(args, _BACKWARD_WORDS.dweight, (columns,), dtype)
        dy = array(args, _BACKWARD_WORDS.dy, (rows, columns), dtype)
        x = array(args, _BACKWARD_WORDS.x, (rows, columns), dtype)
        weight = array(args, _BACKWARD_WORDS.weight, (columns,), dtype)
        first, last = part(columns, t, n)
        if not integer(args, _BACKWARD_WORDS.accumulate):
            dweight[first:last] = dtype(0)
        for i in range(rows):
            for j in range(first, last):
                dweight[j] += dy[i, j] * x[i, j]
                dx[i, j] = dy[i, j] * weight[j]

    return gain_backward_slice


_FORWARD = by_dtype("gain_forward", _forward, _FORWARD_WORDS, outputs="out", shared="weight")
_BACKWARD = by_dtype("gain_backward", _backward, _BACKWARD_WORDS, outputs="dx dweight")


def gain_forward(out, x, weight):
    kernel = kernel_for(_FORWARD, "x", x)
    rows, columns = matrix_shape("x", x)
    check("x", x, x.dtype, (rows, columns))
    check("weight", weight, x.dtype, (columns,))
    check_output("out", out, x.dtype, (rows, columns))
    launch(kernel, chunks_for(x.size), (out, x, weight), rows, columns)


def gain_backward(dx, dweight, dy, x, weight, accumulate):
    kernel = kernel_for(_BACKWARD, "dy", dy)
    rows, columns = matrix_shape("dy", dy)
    for name, a in (("dy", dy), ("x", x)):
        check(name, a, dy.dtype, (rows, columns))
    check("weight", weight, dy.dtype, (columns,))
    check_output("dx", dx, dy.dtype, (rows, columns))
    check_output("dweight", dweight, dy.dtype, (columns,))
    launch(kernel, 1, (dx, dweight, dy, x, weight), rows, columns, accumulate)
"""),
        ("fastnn/nn/FAMILY.py", "class GroupNorm(", """def gain(input: Tensor, weight: Tensor) -> Tensor:
    from fastnn._autograd.engine import Node
    from fastnn._tensor.tensor import _recorded
    from fastnn.kernels.norm.gain import gain_backward, gain_forward
    from fastnn.kernels.runtime import allocation
    from fastnn.nn.checks import _contiguous
    from fastnn.nn.functional.gradient_buffers import _finish_gradient, _gradient_place, _is_wanted

    x, w = _contiguous(input._data), _contiguous(weight._data)
    out = allocation.empty_like(x)
    gain_forward(out, x, w)
    if not _recorded(input, weight):
        return _wrap(out)
    wanted = _is_wanted(weight)

    def run(grad: Tensor) -> tuple[Tensor | None, ...]:
        dx = allocation.empty_like(x)
        place, add, in_place = _gradient_place(weight, wanted, w.shape)
        dw = allocation.empty_like(w) if place is None else place
        gain_backward(dx, dw, _contiguous(grad._data), x, w, add)
        return _wrap(dx), _finish_gradient(weight, dw, in_place) if wanted else None

    return _wrap(out, Node("Gain", (input, weight), run, (input, weight), recompute=lambda: input * weight))


class Gain(Module):
    weight: Parameter

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = Parameter._empty((features,), np.dtype(np.float32))
        self.weight._data[...] = 1

    def forward(self, input: Tensor) -> Tensor:
        return gain(input, self.weight)


"""),
        ("fastnn/nn/FAMILY.py", '"BatchNorm1d", "GroupNorm"', '"Gain", "gain", '),
    ],
}  # fmt: skip

# The rows of the tests, and the tests that they feed.
ROWS: list[tuple[str, str, str]] = [
    ("benchmarks/operations/activations.py", "]  # fmt: skip\n", """    Activation(
        "cube", lambda x, a, b, c: x**3, lambda dy, x, a, b, c: 3 * dy * x**2, {"cube": lambda F, x: F.cube(x)},
        {"cube": (lambda nn: nn.Cube(), 4)},
    ),
"""),
    ("tests/cases_losses.py", '    "mse_weight": Loss(', """    "energy": Loss(lambda F, x, y, r: F.energy_loss(x, y, reduction=r), (normal, normal), (0, 1), ONE_SIZE,
                   kernel="energy", reference=lambda x, y, a: ((x - y) ** 2 / 2, x - y)),
"""),
    ("tests/naive_optimizers.py", "# -- The table --", """def signs(*arrays, lr, **options):
    p, g = _prepared(arrays, options)
    return (p - lr * ((g > 0) * 1.0 - (g < 0)),)


"""),
    ("tests/naive_optimizers.py", "]  # fmt: skip\n", """    Rule("signs", "signs", signs, (), choices(lr=[0.1, 0.0]), {"signs": ("Signs", {})}),
"""),
]
FED = [
    "tests/kernels/test_elementwise_activations.py", "tests/kernels/test_optimizer_kernels.py", "tests/nn/test_losses.py",
    "tests/tensor/test_float64_reference.py", "tests/tensor/test_second_derivatives.py", "tests/tensor/test_tensor.py",
]

USE = """
import fastnn as torch
from fastnn import nn
from fastnn.nn import functional as F

torch.manual_seed(0)
x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
y = torch.randn(5, 3, dtype=torch.float64)
for f in (F.cube, lambda x: F.energy_loss(x, y)):
    print(torch.autograd.gradcheck(f, [x]), torch.autograd.gradgradcheck(f, [x]))
w = torch.rand(3, dtype=torch.float64, requires_grad=True)
print(torch.autograd.gradcheck(F.gain, [x, w]), torch.autograd.gradgradcheck(F.gain, [x, w]))
model = nn.Sequential(nn.Linear(4, 8), nn.Cube(), nn.Gain(8), nn.Linear(8, 1))
optimizer = torch.optim.Signs(model.parameters(), lr=1e-3)
step = torch.compile_step(model, nn.EnergyLoss(), optimizer)
a, b = torch.randn(16, 4), torch.randn(16, 1)
losses = [step(a, b).item() for _ in range(60)]
print(losses[-1] < losses[0], "1 program" in step.explain())
lists = {"signs": torch.kernels, "Signs": torch.optim, "Cube": nn, "EnergyLoss": nn, "Gain": nn}
print(all(name in module.__all__ and name in dir(module) for name, module in lists.items()), torch.kernels.signs.__name__)
print(nn.Cube()(torch.tensor([2.0])).item(), nn.EnergyLoss()(torch.tensor([3.0]), torch.tensor([1.0])).item())
"""


def _section(title: str) -> str:
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_is_short_and_names_the_files(title: str) -> None:
    section = _section(title)
    assert 0 < len(section.strip().splitlines()) <= 20
    files = {file for file, _, _ in RECIPES[title]}
    # The kernel, and the function or class.
    assert len(files) <= 2
    for file in files:
        assert f"`{file}`" in section, file


def insert(file: Path, before: str, text: str) -> None:
    """Put ``text`` before the last place of ``before``."""
    source = file.read_text(encoding="utf-8")
    assert before in source, (file, before)
    start, found, end = source.rpartition(before)
    file.write_text(start + text + found + end, encoding="utf-8")


_made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


@functools.cache
def tree() -> Path:
    """A copy of the tree in which the recipes have been followed."""
    folder = Path(_made.name)
    ignored = shutil.ignore_patterns("__pycache__", "*.gz", "golden")
    for name in ("fastnn", "kernels", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for title, changes in RECIPES.items():
        for name, before, text in changes:
            for part, chosen in NAMES.get(title, {}).items():
                name = name.replace(part, chosen)
            file = folder / name
            if before is None:
                file.write_text(text, encoding="utf-8")
                continue
            assert file.read_text(encoding="utf-8").count(before) == 1, (name, before)
            insert(file, before, text)
    for name, before, text in ROWS:
        insert(folder / name, before, text)
    return folder


def _in_tree(code: str) -> str:
    return run_python(code, "-P", PYTHONPATH=str(tree()), FASTNN_CACHE_DIR=str(tree() / "cache"))


def _fed() -> str:
    arguments = ["-q", "-n", "0", "-p", "no:cacheprovider", "-k", "cube or energy or signs or has_a_row or has_a_reference", *FED]
    return _in_tree(f"import os, sys, pytest; os.chdir({str(tree())!r}); sys.exit(pytest.main({arguments!r}))")


def test_the_recipes_lead_to_code_that_runs() -> None:
    assert re.sub(r"\n+", "\n", _in_tree(USE)).splitlines() == [
        "True True", "True True", "True True", "True True", "True signs", "8.0 2.0",
    ]  # fmt: skip


def test_one_row_feeds_the_tests() -> None:
    passed = re.search(r"(\d+) passed, \d+ deselected", _fed())
    assert passed is not None
    assert int(passed[1]) > 100
