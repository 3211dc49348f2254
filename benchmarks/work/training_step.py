"""One training step, and the same on one thread and on all.

Forward, softmax cross-entropy, backward and Adam, on prepared batches. The loss is never read in the
timed part: this is best for JAX and makes no difference to the others. Losses of six steps on one
batch are compared, without dropout.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Unavailable, Work
from benchmarks.work import mlp, mlp_jax, mlp_numpy, need


def _case(model: str, batch: int, target: bool = True) -> Case:
    described = mlp.MODELS[model]
    return Case(
        f"{model} {batch}",
        {"model": model, "batch": batch, "batches": 32 if batch < 256 else 16, "dropout": 0.3},
        flops=described.training_flops(batch),
        # Weights are read three times, and the optimizer reads or writes seven arrays of their size.
        bytes=40.0 * described.parameters(),
        target=target,
    )


def _module_step(library: Any, inputs: Inputs, case: Case, **optimizer_options: Any) -> tuple[Any, Any, Any]:
    """Model, loss and optimizer of fastnn or PyTorch."""
    model = mlp.modules(library, mlp.MODELS[case["model"]], case["dropout"])
    mlp.load_weights(library, model, inputs)
    optimizer = library.optim.Adam(model.parameters(), lr=mlp.LR, **optimizer_options)
    return model, library.nn.CrossEntropyLoss(), optimizer


def _loop(model: Any, criterion: Any, optimizer: Any, pairs: Any) -> Job:
    """The plain training loop, the same lines for fastnn and PyTorch."""

    def run() -> Any:
        x, y = next(pairs)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Job(run, read=lambda loss: [np.array(loss.item())])


def _fastnn_parts(inputs: Inputs, case: Case) -> tuple[tuple[Any, Any, Any], Any]:
    import fastnn

    if mlp.MODELS[case["model"]].regularized:
        need(fastnn.nn, "BatchNorm1d", "Dropout")
    return _module_step(fastnn, inputs, case), mlp.batches(inputs, fastnn.from_numpy)


def _fastnn(inputs: Inputs, case: Case) -> Job:
    parts, pairs = _fastnn_parts(inputs, case)
    return _loop(*parts, pairs)


def _fastnn_step(inputs: Inputs, case: Case) -> Job:
    """The captured step: one call instead of the loop's five lines."""
    import fastnn

    need(fastnn, "compile_step")
    parts, pairs = _fastnn_parts(inputs, case)
    step = fastnn.compile_step(*parts)
    return Job(lambda: step(*next(pairs)), read=lambda loss: [np.array(float(loss))])


def _torch(inputs: Inputs, case: Case) -> Job:
    import torch

    return _loop(*_module_step(torch, inputs, case, fused=True), mlp.batches(inputs, torch.tensor))


def _torch_compile(inputs: Inputs, case: Case) -> Job:
    import torch

    model, criterion, optimizer = _module_step(torch, inputs, case, fused=True)
    return _loop(torch.compile(model), criterion, optimizer, mlp.batches(inputs, torch.tensor))


def sklearn_model(inputs: Inputs, x: np.ndarray, y: np.ndarray) -> Any:
    """An ``MLPClassifier`` with the given weights, trained by ``partial_fit`` one batch at a time."""
    from sklearn.neural_network import MLPClassifier

    layers = mlp.layers(inputs)
    model = MLPClassifier(
        [len(bias) for _, bias in layers[:-1]], alpha=0.0, batch_size=len(x), learning_rate_init=mlp.LR, shuffle=False
    )
    # The first call makes the arrays and the optimizer; both are then set to the common initial state.
    model.partial_fit(x, y, classes=np.arange(mlp.CLASSES))
    for kept, (weight, _) in zip(model.coefs_, layers, strict=True):
        kept[...] = weight
    for kept, (_, bias) in zip(model.intercepts_, layers, strict=True):
        kept[...] = bias
    optimizer = model._optimizer
    optimizer.t = 0
    for moment in (*optimizer.ms, *optimizer.vs):
        moment[...] = 0
    return model


def _sklearn(inputs: Inputs, case: Case) -> Job:
    if mlp.MODELS[case["model"]].regularized:
        raise Unavailable("MLPClassifier has no BatchNorm and no Dropout")
    model = sklearn_model(inputs, inputs["x"][0], inputs["y"][0])
    pairs = mlp.batches(inputs, lambda a: a)
    return Job(lambda: model.partial_fit(*next(pairs)), read=lambda model: [np.array(model.loss_)])


_CHECK = {"dropout": 0.0, "batches": 1}

WORKS = (
    Work(
        "training_step",
        (
            *(_case(model, batch) for model in ("S", "T", "W") for batch in (64, 512)),
            # A substitute for T in libraries without BatchNorm; not a target.
            *(_case("T plain", batch, target=False) for batch in (64, 512)),
        ),
        mlp.training_inputs, tolerance=2e-3,
        setups={
            "fastnn": _fastnn, "fastnn_step": _fastnn_step, "numpy": mlp_numpy.training_step, "torch": _torch,
            "torch_compile": _torch_compile, "jax": mlp_jax.training_step, "sklearn": _sklearn,
        },
        check_calls=6, check_sizes=_CHECK, chained=True, extras=("numpy", "torch_compile", "sklearn"),
    ),
    # A worker's name may end in '@' and a number of threads.
    Work(
        "threads", (_case("W", 512),), mlp.training_inputs, tolerance=2e-3,
        setups={
            "fastnn": _fastnn, "fastnn@1": _fastnn, "torch": _torch, "torch@1": _torch,
            "jax": mlp_jax.training_step, "jax@1": mlp_jax.training_step,
            "numpy": mlp_numpy.training_step,
        },
        check_calls=6, check_sizes=_CHECK, chained=True, extras=("torch", "torch@1", "jax", "jax@1", "numpy"),
    ),
)  # fmt: skip
