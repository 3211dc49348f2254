"""Small random training programs, and a machine that runs one with fastnn or with PyTorch.

A program is a model and a list of instructions. An instruction is a name and three small integers, which the machine
maps to the available choices: every list is a valid program, so a failing one shrinks well. The result of a program
is a list of notes: numbers, flags, shapes, which tensors share memory, and which errors were raised.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Instruction = tuple[str, int, int, int]
Note = tuple[Any, ...]


@dataclass(frozen=True)
class Spec:
    """A model, its inputs and its optimizer.

    Args:
        kind: how the layers are put together, see :func:`build`.
        layers: their names, see :data:`LAYERS`.
        width, hidden: features of inputs and outputs, and in between.
        rows: rows of the two inputs.
        wants: whether the inputs need gradients.
        dtype: "float32" or "float64".
        optimizer: see :data:`OPTIMIZERS`.
        seed: seed of all random numbers.
    """

    kind: str
    layers: tuple[str, ...]
    width: int
    hidden: int
    rows: tuple[int, int]
    wants: tuple[bool, bool]
    dtype: str
    optimizer: str
    seed: int


# From the library and the width to the layer; the linear ones are made by `stack`.
LAYERS: dict[str, Callable[[Any, int], Any]] = {
    "relu": lambda nn, n: nn.ReLU(),
    "tanh": lambda nn, n: nn.Tanh(),
    "gelu": lambda nn, n: nn.GELU(),
    "sigmoid": lambda nn, n: nn.Sigmoid(),
    "leaky": lambda nn, n: nn.LeakyReLU(0.1),
    "silu": lambda nn, n: nn.SiLU(),
    "elu": lambda nn, n: nn.ELU(),
    "prelu": lambda nn, n: nn.PReLU(),
    "batch norm": lambda nn, n: nn.BatchNorm1d(n),
    "layer norm": lambda nn, n: nn.LayerNorm(n),
    "rms norm": lambda nn, n: nn.RMSNorm(n),
    "dropout": lambda nn, n: nn.Dropout(0.4),
    "identity": lambda nn, n: nn.Identity(),
}
LINEAR = ("linear", "bare")
KINDS = (
    "sequential", "nested", "written", "residual", "halves", "two inputs", "twice", "aliased", "tied", "arithmetic",
    "gated", "pair", "parts",
)  # fmt: skip
# With a large eps, so that a gradient of pure rounding error is not amplified.
OPTIMIZERS: dict[str, Callable[[Any, Any], Any]] = {
    "sgd": lambda optim, p: optim.SGD(p, lr=0.1),
    "momentum": lambda optim, p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda optim, p: optim.Adam(p, lr=0.02, eps=1e-3),
    "adamw": lambda optim, p: optim.AdamW(p, lr=0.02, eps=1e-3),
    "rmsprop": lambda optim, p: optim.RMSprop(p, lr=0.01, eps=1e-3),
}


def stack(nn: Any, names: Sequence[str], width: int, hidden: int) -> list[Any]:
    """The layers in sequence, from ``width`` features to ``width`` features."""
    made, now = [], width
    for name in names:
        if name in LINEAR:
            after = hidden if now == width else width
            made.append(nn.Linear(now, after, bias=name == "linear"))
            now = after
        else:
            made.append(LAYERS[name](nn, now))
    # At least one layer has parameters.
    if now != width or not any(True for layer in made for _ in layer.parameters()):
        made.append(nn.Linear(now, width))
    return made


def build(lib: Any, spec: Spec) -> Any:
    """A model of this library."""
    nn = lib.nn
    layers = stack(nn, spec.layers, spec.width, spec.hidden)
    middle = (len(layers) + 1) // 2
    if spec.kind == "sequential":
        return nn.Sequential(*layers)
    if spec.kind == "nested":
        return nn.Sequential(nn.Sequential(*layers[:middle]), nn.Sequential(*layers[middle:], nn.Identity()))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*layers)
            self.first, self.second = nn.Linear(spec.width, spec.width), nn.Linear(spec.width, spec.width)
            if spec.kind in ("aliased", "tied"):
                self.second.weight = self.first.weight

    class Written(Net):
        def forward(self, x: Any) -> Any:
            x = nn.functional.relu(self.first(x))
            for layer in self.body:
                x = layer(x)
            return self.second(x)

    class Residual(Net):
        def forward(self, x: Any) -> Any:
            return self.second(x + self.body(self.first(x)).tanh())

    class Arithmetic(Net):
        def forward(self, x: Any) -> Any:
            h = self.first(x) * 2 - x / 3
            h = h + 0.1 * self.body(h).tanh() * h.mean(1, keepdim=True)
            return self.second(h) + (h**2 + 1).sqrt()

    class Gated(Net):
        def forward(self, x: Any) -> Any:
            h = self.first(x)
            h = lib.where(h > 0, h, h.exp() - 1) + self.body(x).sigmoid() * h.abs()
            return lib.maximum(h, self.second(h)) - h.sum(0) * 0.01

    class Pair(Net):
        def forward(self, x: Any) -> Any:
            h = self.body(self.first(x))
            return self.second(h), h.tanh()

    class Parts(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(lib.full((spec.width,), 0.1))

        def forward(self, x: Any) -> Any:
            low, high = lib.cat([self.body(self.first(x)), x], 1).chunk(2, 1)
            return {"low": low * self.scale.exp(), "high": self.second(high), "rest": [low[:, :1], None]}

    class TwoInputs(Net):
        def forward(self, x: Any, y: Any) -> Any:
            return self.body(self.first(x) * self.second(y))

    class Twice(Net):
        def forward(self, x: Any) -> Any:
            return self.body(self.first(self.body(x)))

    class Once(Net):
        """The second layer exists but is not used."""

        def forward(self, x: Any) -> Any:
            return self.body(self.first(x))

    kinds = {
        "residual": Residual, "arithmetic": Arithmetic, "gated": Gated, "pair": Pair, "parts": Parts,
        "two inputs": TwoInputs, "twice": Twice, "aliased": Once,
    }  # fmt: skip
    if spec.kind == "halves":
        halves = nn.Module()
        halves.body, halves.head = nn.Sequential(*layers[:middle]), nn.Sequential(*layers[middle:], nn.Identity())
        return halves
    return kinds.get(spec.kind, Written)()


def bounds(tensor: Any) -> tuple[int, int]:
    """First and last address of a tensor's numbers, as a half-open range."""
    if not tensor.numel():
        return 0, 0
    return np.lib.array_utils.byte_bounds(tensor.detach().numpy())


class Machine:
    """Runs one program.

    Args:
        lib: fastnn, or torch.
        spec: model, inputs and optimizer of the program.
        compiled: whether whole steps run with ``compile_step``, or line by line.
        settled: for a comparison of libraries: dropout is always in evaluation mode, and no batch of one row is
            normalised (that is an error; PyTorch counts the batch before it raises, fastnn does not).
        dtype: instead of that of ``spec``.
        nudge: approximate relative perturbation of each number, to see the effect of rounding on a program.
    """

    def __init__(
        self, lib: Any, spec: Spec, *, compiled: bool, settled: bool, dtype: str | None = None, nudge: float = 0.0
    ) -> None:
        self.lib, self.spec, self.compiled, self.settled, self.nudge = lib, spec, compiled, settled, nudge
        self.dtype = getattr(lib, dtype or spec.dtype)
        lib.manual_seed(spec.seed)
        self.rng, self.nudges = np.random.default_rng(spec.seed), np.random.default_rng(0)
        self.notes: list[Note] = []
        # Tensors that the user keeps, and those whose memory is shared with other libraries.
        self.kept: list[Any] = []
        self.losses: list[list[Any]] = []
        self.handles: list[Any] = []
        self.saved: Any = None
        self.model = build(lib, spec).to(self.dtype)
        with lib.no_grad():
            for tensor in self.model.parameters():
                tensor.copy_(self.numbers(*tensor.shape))
        self.settle()
        rows = [max(n, 2) if settled and "batch norm" in spec.layers else n for n in spec.rows]
        self.xs = [self.numbers(n, spec.width) for n in rows]
        self.labels = [lib.from_numpy(self.rng.integers(0, spec.width, n)) for n in rows]
        for x, wants in zip(self.xs, spec.wants, strict=True):
            x.requires_grad_(wants)
        self.equip()

    def numbers(self, *shape: int) -> Any:
        """A tensor of numbers that are the same in both libraries."""
        array = self.rng.standard_normal(shape) * 0.5 + 0.1
        if self.nudge:
            array *= 1 + self.nudge * self.nudges.standard_normal(shape)
        return self.lib.from_numpy(array).to(self.dtype)

    def equip(self) -> None:
        """An optimizer and a step for the current model."""
        self.optimizer = OPTIMIZERS[self.spec.optimizer](self.lib.optim, self.model.parameters())
        self.criterion = self.lib.nn.CrossEntropyLoss()
        if self.compiled and hasattr(self.lib, "compile_step"):
            self.step = self.lib.compile_step(self.model, self.criterion, self.optimizer)

    def settle(self) -> None:
        for module in self.model.modules():
            if self.settled and isinstance(module, self.lib.nn.Dropout):
                module.eval()

    # -- Choices -------------------------------------------------------------------------------

    @property
    def parameters(self) -> list[Any]:
        return list(self.model.parameters())

    @property
    def leaves(self) -> list[Any]:
        return [*self.parameters, *self.xs]

    def pick(self, things: Sequence[Any], i: int) -> Any:
        return things[i % len(things)]

    def call(self, i: int) -> Any:
        x, model = self.pick(self.xs, i), self.model
        if self.spec.kind == "halves":
            return model.head(model.body(x))
        if self.spec.kind == "pair":
            a, b = model(x)
            return (a + b, a * b, a - 2 * b, a)[i % 4]
        if self.spec.kind == "parts":
            outs = model(x)
            low, high, rest = outs["low"], outs["high"], outs["rest"][0]
            return (low + high * rest, low * high + rest, high - rest, low)[i % 4]
        # The other input has another number of rows.
        return model(x, x * 2) if self.spec.kind == "two inputs" else model(x)

    def loss(self, out: Any, i: int, kind: int) -> Any:
        f = self.lib.nn.functional
        if kind == 0:
            return f.cross_entropy(out, self.pick(self.labels, i))
        if kind == 1:
            return f.mse_loss(out, self.lib.zeros_like(out) + 0.25)
        if kind == 2:
            return out[:, 0].sum()
        if kind == 3:
            return out.sum() + self.call(i + 1).pow(2).sum()
        if kind == 4 and not self.handles:
            # PyTorch raises if modules have hooks.
            return out.mul_(2).sum()
        if kind == 5:
            return (out * out.detach()).mean()
        if kind == 6 and self.spec.kind not in ("two inputs", "halves", "pair", "parts"):
            # An input that is itself a result.
            return self.model(out).pow(2).mean()
        return out.pow(2).mean()

    # -- Notes --------------------------------------------------------------------------------

    def note(self, label: str, *values: Any) -> None:
        if not values:
            self.notes.append((label, None))
        for value in values:
            if isinstance(value, self.lib.Tensor):
                array = np.array(value.detach().numpy(), order="C")
                self.notes.append((label, str(value.dtype).rpartition(".")[2], bool(value.requires_grad), array))
            else:
                self.notes.append((label, value))

    def look(self, label: str) -> None:
        """Record everything observable."""
        for i, p in enumerate(self.parameters):
            self.note(f"{label}: parameter {i}", p, p.grad)
        for i, b in enumerate(self.model.buffers()):
            self.note(f"{label}: buffer {i}", b)
        for i, x in enumerate(self.xs):
            self.note(f"{label}: input {i}", x, x.grad)
        for i, (loss, out, *_) in enumerate(self.losses):
            self.note(f"{label}: loss {i}", loss, out)
            if out.requires_grad and out.retains_grad:
                self.note(f"{label}: gradient of output {i}", out.grad)
        for i, t in enumerate(self.kept):
            self.note(f"{label}: kept {i}", t)
        owners = [t.grad for t in self.leaves if t.grad is not None] + self.kept
        spans = [bounds(t) for t in owners]
        shared = [
            (i, j) for j, (a, b) in enumerate(spans) for i, (c, d) in enumerate(spans[:j]) if max(a, c) < min(b, d)
        ]
        self.notes.append((f"{label}: shared memory", tuple(shared)))

    def reset(self) -> None:
        """Start over after an error: PyTorch does not define graphs and gradients in that case."""
        self.losses.clear()
        self.kept.clear()
        for t in self.leaves:
            t.grad = None

    def run(self, program: Sequence[Instruction]) -> list[Note]:
        """The notes of a program."""
        for number, (name, a, b, c) in enumerate(program):
            label = f"{number} {name}"
            try:
                getattr(self, f"do_{name}")(a, b, c)
            except KeyboardInterrupt:
                self.notes.append((label, "interrupted"))
                self.reset()
            except Exception as error:
                # Without its traceback, which keeps the instruction's objects alive.
                self.notes.append((label, error.with_traceback(None)))
                self.reset()
            self.look(label)
        return self.notes

    # -- Instructions -------------------------------------------------------------------------

    def do_warm(self, a: int, b: int, c: int) -> None:
        """Make enough equal calls for the next one to be replayed."""
        for _ in range(3):
            self.call(a).sum().backward()
        self.reset()

    def do_forward(self, a: int, b: int, c: int) -> None:
        for _ in range(b % 4):
            out = self.call(a)
        out = self.call(a)
        self.losses.append([self.loss(out, a, c % 8), out])
        del self.losses[:-5]

    def do_watch(self, a: int, b: int, c: int) -> None:
        with self.lib.no_grad():
            for _ in range(1 + b % 4):
                out = self.call(a)
        self.note("output", out)
        if c % 3 == 0:
            self.kept.append(out)

    def do_backward(self, a: int, b: int, c: int) -> None:
        if self.losses:
            entry = self.pick(self.losses, a)
            entry[0].backward(retain_graph=b % 3 == 0)
            # One in six is kept: a second backward raises.
            if b % 3 and c % 6:
                self.losses.remove(entry)

    def targets(self, c: int) -> list[Any]:
        p, every = self.parameters, c >= 10
        chosen = [self.xs, p[:1], p, self.leaves, p[c % max(1, len(p)) :]][c % 5]
        return [t for t in chosen if every or t.requires_grad]

    def do_grad(self, a: int, b: int, c: int) -> None:
        if self.losses and (targets := self.targets(c)):
            entry = self.pick(self.losses, a)
            found = self.lib.autograd.grad(entry[0], targets, retain_graph=b % 2 == 0, allow_unused=b % 5 != 1)
            self.note("gradients", *found)
            self.kept += [g for g in found if g is not None and b % 3 == 0]
            if b % 2:
                self.losses.remove(entry)

    def do_inputs(self, a: int, b: int, c: int) -> None:
        if self.losses and (targets := self.targets(c)):
            entry = self.pick(self.losses, a)
            entry[0].backward(retain_graph=b % 2 == 0, inputs=targets)
            if b % 2:
                self.losses.remove(entry)

    def do_output(self, a: int, b: int, c: int) -> None:
        """A gradient that is given."""
        if self.losses:
            entry = self.pick(self.losses, a)
            gradient = self.numbers(*entry[1].shape)
            if b % 3 == 1:
                gradient = self.numbers(*entry[1].shape[::-1]).T
            if b % 3 == 2:
                gradient = self.numbers(1, entry[1].shape[1]).expand(*entry[1].shape)
            entry[1].backward(gradient, retain_graph=c % 2 == 0)
            if c % 2:
                self.losses.remove(entry)

    def do_second(self, a: int, b: int, c: int) -> None:
        if self.losses and (targets := self.targets(c % 5)):
            entry = self.losses.pop(a % len(self.losses))
            self.note("differentiated")
            found = self.lib.autograd.grad(entry[0], targets, create_graph=True, allow_unused=True)
            # Part of it has a history, whether or not a constant gradient has one.
            total = sum((t * 0).sum() for t in self.leaves if t.requires_grad)
            total = total + sum(g.pow(2).sum() for g in found if g is not None)
            self.note("gradients", *[None if g is None else g.detach() for g in found])
            if b % 2:
                total.backward()

    def do_zero(self, a: int, b: int, c: int) -> None:
        leaf = self.pick(self.leaves, b)
        if a % 6 == 0:
            self.model.zero_grad()
        elif a % 6 == 1:
            self.model.zero_grad(set_to_none=False)
        elif a % 6 == 2:
            self.optimizer.zero_grad(set_to_none=c % 2 == 0)
        elif a % 6 == 3:
            leaf.grad = None
        elif a % 6 == 4 and leaf.grad is not None:
            with self.lib.no_grad():
                leaf.grad.zero_()
        elif a % 6 == 5:
            for x in self.xs:
                x.grad = None

    def do_preset(self, a: int, b: int, c: int) -> None:
        """A gradient that the user assigns."""
        leaf, kind = self.pick(self.leaves, a), b % 10
        shape, other = tuple(leaf.shape), self.pick(self.leaves, c)
        if kind == 0:
            leaf.grad = self.numbers(*shape)
        elif kind == 1:
            whole = self.numbers(2, *shape)
            self.kept.append(whole)
            leaf.grad = whole[c % 2]
        elif kind == 2:
            leaf.grad = self.numbers(*shape[::-1]).permute(*range(len(shape))[::-1])
        elif kind == 3 and other.grad is not None and other.grad.shape == leaf.shape:
            leaf.grad = other.grad
        elif kind == 4 and leaf.grad is not None:
            leaf.grad = leaf.grad.detach().clone()
        elif kind == 5:
            array = self.rng.standard_normal(shape).astype(str(self.dtype).rpartition(".")[2])
            leaf.grad = self.lib.from_numpy(array)
            self.kept.append(self.lib.from_numpy(array))
        elif kind == 6 and leaf.grad is not None:
            leaf.grad = leaf.grad.detach() if c % 2 else leaf.grad.data
        elif kind == 7:
            leaf.grad = self.numbers(*shape, 2)[..., 0]
        elif kind == 8 and leaf.grad is not None:
            # Only a view of the previous gradient remains.
            leaf.grad = leaf.grad.detach()[...]
        elif kind == 9:
            leaf.grad = self.numbers(*shape).requires_grad_()

    def do_expanded(self, a: int, b: int, c: int) -> None:
        """A gradient that cannot be accumulated into."""
        leaf = self.pick(self.leaves, a)
        self.do_unhook(0, 0, 0)
        if self.losses and leaf.requires_grad and leaf.numel() > 1:
            leaf.grad = self.numbers(*(1,) * leaf.dim()).expand(*leaf.shape)
            try:
                self.losses[-1][0].backward()
            finally:
                self.reset()

    def do_hold(self, a: int, b: int, c: int) -> None:
        """Gradients that the user keeps."""
        for t in self.leaves:
            if t.grad is not None and (b % 2 or t is self.pick(self.leaves, c)):
                g = t.grad
                kept = [g, g.detach(), g[:1], self.lib.from_numpy(g.detach().numpy())][a % 4]
                if not any(kept is other for other in self.kept):
                    self.kept.append(kept)

    def do_drop(self, a: int, b: int, c: int) -> None:
        self.kept.clear()

    def do_freeze(self, a: int, b: int, c: int) -> None:
        wants = b % 3 != 0
        if c % 3 == 0:
            self.pick(list(self.model.children()), a).requires_grad_(wants)
        else:
            self.pick(self.leaves, a).requires_grad_(wants)

    def do_change(self, a: int, b: int, c: int) -> None:
        """Parameters that are changed in place."""
        p, kind = self.pick(self.parameters, a), b % 7
        with self.lib.no_grad():
            if kind == 0:
                p.mul_(1.1)
            elif kind == 1:
                p.copy_(self.numbers(*p.shape))
            elif kind == 2:
                p[:1].add_(0.1)
            elif kind == 3:
                self.unnoticed()
                p.data.add_(0.1)
            elif kind == 4:
                self.unnoticed()
                p.data = self.numbers(*p.shape)
            elif kind == 5:
                p[0] = 0.3
            else:
                p.detach().mul_(0.9)

    def unnoticed(self) -> None:
        """Before a change that no backward pass detects: the numbers it then reads depend on the library."""
        if self.settled:
            self.losses.clear()
        # A captured forward notices it by its output when it is differentiated twice, unless that has changed as well.
        self.losses = [entry for entry in self.losses if not entry[1]._version]

    def do_input(self, a: int, b: int, c: int) -> None:
        """Inputs that are changed in place."""
        x, kind = self.pick(self.xs, a), b % 5
        with self.lib.no_grad():
            if kind == 0:
                x.mul_(1.1)
            elif kind == 1:
                x[0] = 0.3
            elif kind == 2:
                x[:, :1].add_(0.1)
            elif kind == 3:
                self.unnoticed()
                x.data.add_(0.1)
            elif self.losses:
                # An output, which the backward pass may read.
                self.pick(self.losses, a)[1].add_(0.1)

    def do_hook(self, a: int, b: int, c: int) -> None:
        target = self.pick([*self.leaves, *[out for _, out, *_ in self.losses]], a)
        if not target.requires_grad:
            return

        def hook(grad: Any) -> Any:
            self.note("hook", grad)
            return [None, grad * 2, grad.clone(), None][b % 4]

        self.handles.append(target.register_hook(hook))
        if c % 3 == 0 and target.is_leaf:

            def after(leaf: Any) -> None:
                self.note("accumulated", leaf.grad)
                if c % 2:
                    leaf.grad = None

            self.handles.append(target.register_post_accumulate_grad_hook(after))

    def do_watcher(self, a: int, b: int, c: int) -> None:
        """Hooks of modules."""
        module = self.pick(list(self.model.modules()), a)
        if b % 3 == 0:
            self.handles.append(module.register_forward_hook(lambda m, args, out: out * 2 if c % 2 else None))
        elif b % 3 == 1:
            self.handles.append(module.register_forward_pre_hook(lambda m, args: (args[0] * 2, *args[1:])))
        else:

            def after(m: Any, by_inputs: Any, by_outputs: Any) -> Any:
                self.note("module", *by_outputs)
                return tuple([None if g is None else g * 2 for g in by_inputs]) if by_inputs[0] is not None else None

            self.handles.append(module.register_full_backward_hook(after))

    def do_view(self, a: int, b: int, c: int) -> None:
        """An input that is a view."""
        i = a % len(self.xs)
        rows, width = self.xs[i].shape
        self.losses.clear()
        whole = self.numbers(2, rows, width) if b % 2 else self.numbers(width, rows, 2)
        self.xs[i] = whole[c % 2] if b % 2 else whole[:, :, c % 2].T
        self.kept.append(whole)
        self.xs[i].requires_grad_(b % 3 == 0)

    def do_unhook(self, a: int, b: int, c: int) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def do_interrupt(self, a: int, b: int, c: int) -> None:
        """Ctrl-C in the middle of a backward pass."""
        if not self.losses:
            return
        loss, out, *_ = self.losses[-1]
        target = self.pick([out, *[t for t in self.leaves if t.requires_grad]], a)

        def hook(grad: Any) -> None:
            raise KeyboardInterrupt

        handle = target.register_hook(hook) if target.requires_grad else None
        try:
            loss.backward()
        finally:
            if handle is not None:
                handle.remove()
            # The gradients depend on where the backward pass was interrupted.
            self.reset()

    def do_retain(self, a: int, b: int, c: int) -> None:
        if self.losses and (out := self.pick(self.losses, a)[1]).requires_grad:
            out.retain_grad()

    def do_mode(self, a: int, b: int, c: int) -> None:
        module = self.model if b % 2 else self.pick(list(self.model.modules()), c)
        module.train(a % 2 == 0)
        self.settle()

    def do_save(self, a: int, b: int, c: int) -> None:
        self.saved = {name: t.clone() for name, t in self.model.state_dict().items()}

    def do_load(self, a: int, b: int, c: int) -> None:
        if self.saved is not None:
            self.model.load_state_dict(self.saved)

    def do_copy(self, a: int, b: int, c: int) -> None:
        self.do_unhook(0, 0, 0)
        if b % 2 and self.spec.kind in ("sequential", "nested", "halves"):
            self.model = pickle.loads(pickle.dumps(self.model))
        else:
            self.model = copy.deepcopy(self.model)
        self.settle()
        self.equip()

    def do_replace(self, a: int, b: int, c: int) -> None:
        """A new parameter that replaces one or two others."""
        layers = [m for m in self.model.modules() if isinstance(m, self.lib.nn.Linear)]
        if layers:
            first, second = self.pick(layers, a), self.pick(layers, b)
            if c % 2:
                first.weight = self.lib.nn.Parameter(self.numbers(*first.weight.shape))
            elif first.weight.shape == second.weight.shape:
                first.weight = second.weight
            self.equip()

    def do_step(self, a: int, b: int, c: int) -> None:
        if b % 3 == 0:
            self.note("norm", self.lib.nn.utils.clip_grad_norm_(self.parameters, 0.5))
        self.optimizer.step()

    def do_train(self, a: int, b: int, c: int) -> None:
        """Several runs of the plain loop or the compiled step."""
        x, y = self.pick(self.xs, a).detach(), self.pick(self.labels, a)
        args = (x, x * 2) if self.spec.kind == "two inputs" else (x,)
        if self.spec.kind == "halves":
            return
        for _ in range(1 + b % 4):
            if self.compiled and hasattr(self.lib, "compile_step"):
                loss = self.step(*args, y)
            else:
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(*args), y)
                loss.backward()
                self.optimizer.step()
            self.note("loss", loss.detach())


# How often each instruction is drawn.
OFTEN: dict[str, int] = {
    "forward": 8, "backward": 6, "grad": 4, "zero": 3, "preset": 3, "freeze": 3, "hold": 2, "warm": 2, "inputs": 2,
    "output": 2, "change": 2, "input": 2, "hook": 2, "step": 2, "train": 2, "unhook": 1, "interrupt": 1, "retain": 1,
    "mode": 1, "watcher": 1, "view": 1, "expanded": 1, "save": 1, "load": 1, "copy": 1, "replace": 1, "watch": 1,
    "drop": 1, "second": 1,
}  # fmt: skip


def listing(spec: Spec, program: Sequence[Instruction]) -> str:
    """The text of a program, to be pasted into a test."""
    return "\n".join([f"{spec!r},", "[", *[f"    {instruction!r}," for instruction in program], "]"])
