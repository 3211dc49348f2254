"""Record small ONNX files of other exporters, with inputs and results, in ``tests/golden/onnx_files.npz``.

Run it where PyTorch 2.13.0, onnx, onnxscript, onnxruntime, scikit-learn and skl2onnx are installed:
``python tests/golden/make_onnx_files.py``. Each file is kept as bytes; the results are those of ONNX Runtime.
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent


def of_pytorch() -> Iterator[tuple[str, bytes, list[np.ndarray]]]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 3)
            self.linear = nn.Linear(7, 4)

        def forward(self, x: Any, index: Any) -> Any:
            return self.linear(torch.cat([x, self.embedding(index)], 1)).relu()

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.norm = nn.Linear(4, 8), nn.Linear(8, 4), nn.LayerNorm(4)

        def forward(self, x: Any) -> Any:
            return self.norm(x + self.b(F.gelu(self.a(x))))

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 8, bias=False)

        def forward(self, x: Any) -> Any:
            a, b = self.linear(x).chunk(2, dim=1)
            return a * torch.sigmoid(b), (a - b).pow(2).mean(1, keepdim=True)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(4, 12)

        def forward(self, x: Any) -> Any:
            q, k, v = self.qkv(x.view(x.size(0), 2, 2).repeat(1, 1, 2)).split(4, dim=-1)
            return (torch.softmax(q @ k.transpose(1, 2) / 2, -1) @ v).reshape(x.size(0), -1)

    class Statistics(nn.Module):
        def forward(self, x: Any) -> Any:
            y = torch.where(x > 0, x, x.exp().clamp(0.1, 0.9))
            return (y - y.mean(1, keepdim=True)) / (y.std(1, keepdim=True) + 1), y.argmax(1), y.topk(2, 1)[0], y[:, 1:3]

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.linear(self.linear(x).tanh()) @ self.linear.weight

    x, index = torch.randn(5, 4), torch.randint(0, 7, (5,))
    norm = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    norm(torch.randn(16, 4))
    mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1))
    models: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
        "mlp opset 9": (mlp, (x,), {"dynamo": False, "opset_version": 9}),
        "mlp opset 11": (mlp, (x,), {"dynamo": False, "opset_version": 11}),
        "mlp opset 17": (mlp, (x,), {"dynamo": False, "opset_version": 17}),
        "mlp dynamo": (mlp, (x,), {"opset_version": 18}),
        "batch norm": (norm, (x,), {"dynamo": False, "opset_version": 13}),
        "batch norm dynamo": (norm, (x,), {"opset_version": 20}),
        "two inputs": (Two(), (x, index), {"dynamo": False}),
        "residual": (Residual(), (x,), {"dynamo": False, "opset_version": 14}),
        "residual dynamo": (Residual(), (x,), {}),
        "gated": (Gated(), (x,), {"dynamo": False, "opset_version": 18}),
        "attention": (Attention(), (x,), {"dynamo": False}),
        "attention dynamo": (Attention(), (x,), {}),
        "statistics": (Statistics(), (x,), {"dynamo": False, "opset_version": 16}),
        "tied": (Tied(), (x,), {"dynamo": False}),
        "activations": (
            nn.Sequential(
                nn.Linear(4, 6), nn.ELU(), nn.Linear(6, 6), nn.SELU(), nn.PReLU(), nn.LeakyReLU(0.2), nn.Softplus(),
                nn.Hardtanh(), nn.Hardsigmoid(), nn.LogSigmoid(),
            ),
            (x,), {"dynamo": False},
        ),
        "activations dynamo": (
            nn.Sequential(
                nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 6), nn.Mish(), nn.Hardswish(), nn.GELU("tanh"), nn.CELU(0.7),
                nn.Softsign(), nn.Tanhshrink(), nn.LogSoftmax(1),
            ),
            (x,), {},
        ),
        "group norm": (nn.Sequential(nn.Linear(4, 8), nn.GroupNorm(2, 8), nn.GLU()), (x,), {"dynamo": False}),
        "bilinear": (nn.Bilinear(4, 4, 3), (x, x.flip(0)), {}),
        "float64": (nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double(), (x.double(),), {"dynamo": False}),
    }  # fmt: skip
    for name, (model, args, options) in models.items():
        model.eval()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            if options.get("dynamo", True):
                options = {**options, "external_data": False, "verbose": False, "optimize": True}
                options["dynamic_shapes"] = tuple({0: torch.export.Dim("batch")} for _ in args)
            else:
                names = [f"x{i}" for i in range(len(args))]
                options |= {"input_names": names, "dynamic_axes": {n: {0: "batch"} for n in names}}
            torch.onnx.export(model, args, path, **options)
            yield f"pytorch {name}", Path(path).read_bytes(), [a.numpy() for a in args]


def of_scikit_learn() -> Iterator[tuple[str, bytes, list[np.ndarray]]]:
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    rng = np.random.default_rng(0)
    x = rng.normal(1, 2, (60, 4)).astype(np.float32)
    total = x.sum(1)
    three = np.digitize(total, [2, 6])
    common: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 15, "random_state": 0}
    text = np.array(["low", "middle", "high"])[three]
    models: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "classifier": (MLPClassifier(**common), three, {"zipmap": False}),
        "classifier zipmap": (MLPClassifier(activation="tanh", **common), three, {}),
        "binary": (MLPClassifier(activation="logistic", **common), total > 4, {"zipmap": False}),
        "text labels": (MLPClassifier(**common), text, {"zipmap": False}),
        "multilabel": (
            MLPClassifier(**common), np.stack([total > 2, total > 5], 1).astype(int), {"zipmap": False}
        ),
        "scaled": (make_pipeline(StandardScaler(), MLPClassifier(**common)), three, {"zipmap": False}),
        "regressor": (MLPRegressor(**common), total, {}),
        "regressor scaled": (
            make_pipeline(StandardScaler(), Normalizer(), MLPRegressor(activation="identity", **common)),
            np.stack([total, x[:, 0]], 1), {},
        ),
    }  # fmt: skip
    for name, (model, y, options) in models.items():
        model.fit(x, y)
        kept = {id(model): options} if options else None
        proto = to_onnx(model, x[:1], options=kept, target_opset={"": 18, "ai.onnx.ml": 3})
        yield f"sklearn {name}", proto.SerializeToString(), [x[:5]]


def main() -> None:
    import onnxruntime

    kept: dict[str, np.ndarray] = {}
    for name, data, inputs in (*of_pytorch(), *of_scikit_learn()):
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        results = session.run(None, dict(zip(names, inputs, strict=True)))
        kept[f"{name}/file"] = np.frombuffer(data, np.uint8)
        for i, array in enumerate(inputs):
            kept[f"{name}/input {i}"] = array
        for i, result in enumerate(results):
            if isinstance(result, list):
                result = np.array([list(row.values()) for row in result], np.float32)
            kept[f"{name}/output {i}"] = result.astype(str) if result.dtype == object else result
        print(f"{name}: {len(data)} bytes, {[np.shape(r) for r in results]}")
    file = io.BytesIO()
    np.savez_compressed(file, **kept)
    (FOLDER / "onnx_files.npz").write_bytes(file.getvalue())
    print(f"{len(file.getvalue())} bytes")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
