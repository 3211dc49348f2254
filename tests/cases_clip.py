"""Training steps with clipped gradients, compared with PyTorch's; part of the registry of ``cases``.

The loss is an L1 loss with unreachable targets, so that the gradients depend only on the inputs and the comparison
covers clipping and update alone. fastnn's steps are those of ``compile_step``: the first is eager, the others captured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CASES, Arrays, Case
from comparison import as_array

STEPS = 6
SEEN = (1, 2, 3, 6)
DECAY = {"lr": 0.05, "weight_decay": 0.1}
# Every optimizer with an update kernel, with the options that change the gradient after the clipping.
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {**DECAY, "maximize": True}),
    "momentum": ("SGD", {**DECAY, "momentum": 0.8, "nesterov": True}),
    "adam": ("Adam", {**DECAY, "amsgrad": True, "eps": 1e-2}),
    "adamw": ("AdamW", {**DECAY, "eps": 1e-2}),
    "adamax": ("Adamax", {**DECAY, "eps": 1e-2}),
    "nadam": ("NAdam", {**DECAY, "eps": 1e-2}),
    "radam": ("RAdam", {**DECAY, "betas": (0.8, 0.9), "eps": 1e-2}),
    "adagrad": ("Adagrad", {**DECAY, "eps": 1e-2}),
    "adadelta": ("Adadelta", {**DECAY, "eps": 1e-2}),
    "rmsprop": ("RMSprop", {**DECAY, "momentum": 0.5, "centered": True, "eps": 1e-2}),
    "rprop": ("Rprop", {"lr": 0.05}),
    "asgd": ("ASGD", {**DECAY, "t0": 2}),
}


def model_of(lib: Any, inputs: Arrays) -> Any:
    """A linear layer with the parameters of ``inputs``."""
    layer = lib.nn.Linear(3, 2, dtype=lib.float64 if inputs["weight"].dtype == np.float64 else lib.float32)
    layer.load_state_dict({name: lib.tensor(inputs[name]) for name in ("weight", "bias")})
    return layer


def step_of(lib: Any, model: Any, optimizer: Any, limit: float, norm_type: float) -> Callable[..., Any]:
    """A step that clips: in the optimizer's kernels, or line by line if the library has no ``compile_step``."""
    criterion = lib.nn.L1Loss()
    if hasattr(lib, "compile_step"):
        return lib.compile_step(model, criterion, optimizer, max_grad_norm=limit, norm_type=norm_type)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        step.grad_norm = lib.nn.utils.clip_grad_norm_(model.parameters(), limit, norm_type)
        optimizer.step()

    return step


def _case(
    name: str, rule: str = "sgd", kind: Any = np.float32, limit: float = 0.5, norm_type: float = 2.0,
    *, groups: bool = False, frozen: bool = False, spoil: float | None = None,
) -> None:  # fmt: skip
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"weight": rng.standard_normal((2, 3)), "bias": rng.standard_normal(2)}
        # Clipped in the first steps, not in the last.
        made["x"] = rng.standard_normal((STEPS, 4, 3)) * np.geomspace(4, 0.02, STEPS)[:, None, None]
        made["y"] = 1e6 * np.where(rng.random((STEPS, 4, 2)) < 0.5, -1, 1)
        if spoil is not None:
            made["x"][3] = spoil
            made["weight"] /= 10
        return {n: a.astype(kind) for n, a in made.items()}

    def run(lib: Any, inputs: Arrays) -> Arrays:
        model = model_of(lib, inputs)
        model.bias.requires_grad_(not frozen)
        cls, options = RULES[rule]
        params: Any = [p for p in model.parameters() if p.requires_grad]
        if groups:
            params = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.5}]
        optimizer = getattr(lib.optim, cls)(params, **options)
        step = step_of(lib, model, optimizer, limit, norm_type)
        found: Arrays = {}
        norms = []
        for i in range(STEPS):
            step(lib.tensor(inputs["x"][i]), lib.tensor(inputs["y"][i]))
            norms.append(as_array(step.grad_norm))
            if i + 1 in SEEN:
                found |= {f"{n}/{i + 1}": as_array(p) for n, p in model.named_parameters()}
        return found | {"norms": np.stack(norms)}

    # Each step rounds the parameter once; gradient, norm, factor and update, which are smaller, a few times.
    CASES.append(Case("clip", f"{name}_{np.dtype(kind).name}", inputs, run, roundings=3 * STEPS, least=1.0))


for _rule in RULES:
    _case(_rule, _rule)
_case("adam", "adam", np.float64)
_case("momentum", "momentum", np.float64)
_case("one", "momentum", norm_type=1)
_case("infinity", "momentum", norm_type=math.inf)
_case("groups", "adamw", groups=True)
_case("frozen", "adamw", frozen=True)
_case("nothing_left", "momentum", limit=0.0)
_case("no_limit", "momentum", limit=math.inf)
_case("nan", "momentum", spoil=math.nan)
_case("nan_infinity", "adam", spoil=math.nan, norm_type=math.inf)
# The norm is infinite, but no gradient is: clipping makes them zero.
_case("overflow", "momentum", spoil=3e38)
