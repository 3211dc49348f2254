"""Logits of 784-256-128-64-10 with ReLU, for batches of 1 to 10,000.

The largest logit of each row is subtracted before the comparison: scikit-learn returns
probabilities, whose logarithms are logits up to such a shift.

``inference_int8`` is the same with quantized linear layers: fastnn's ``compile_inference``, PyTorch's
``quantize_dynamic`` and ONNX Runtime's dynamic quantization. OpenVINO, where it is installed, chooses for itself.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from benchmarks.registry import Case, Inputs, Job, Unavailable, Work
from benchmarks.work import mlp, mlp_jax, mlp_numpy, numbers
from benchmarks.work.training_step import sklearn_model

_MODEL = mlp.MODELS["T plain"]


def _case(batch: int) -> Case:
    return Case(
        f"batch {batch}", {"batch": batch}, flops=_MODEL.inference_flops(batch),
        bytes=4.0 * (_MODEL.parameters() + batch * (_MODEL.widths[0] + mlp.CLASSES)),
    )  # fmt: skip


def _inputs(case: Case) -> Inputs:
    return {**mlp.weights(_MODEL), "x": numbers(1, case["batch"], _MODEL.widths[0])}


def _shifted(logits: np.ndarray) -> list[np.ndarray]:
    return [logits - logits.max(1, keepdims=True)]


def _fastnn(inputs: Inputs, case: Case) -> Job:
    import fastnn

    model = mlp.modules(fastnn, _MODEL).eval()
    mlp.load_weights(fastnn, model, inputs)
    x = fastnn.from_numpy(inputs["x"])
    return Job(fastnn.no_grad()(lambda: model(x)), read=lambda out: _shifted(out.numpy()))


def _torch(inputs: Inputs, case: Case) -> Job:
    import torch

    model = mlp.modules(torch, _MODEL).eval()
    mlp.load_weights(torch, model, inputs)
    x = torch.tensor(inputs["x"])
    return Job(torch.inference_mode()(lambda: model(x)), read=lambda out: _shifted(np.array(out)))


def _sklearn(inputs: Inputs, case: Case) -> Job:
    # 200 rows to create the model; partial_fit needs at least as many rows as its batch.
    x, y = numbers(2, 200, _MODEL.widths[0]), np.arange(200) % mlp.CLASSES
    model = sklearn_model(inputs, x, y)
    smallest = np.finfo(np.float32).tiny
    return Job(
        lambda: model.predict_proba(inputs["x"]),
        read=lambda probabilities: _shifted(np.log(np.maximum(probabilities, smallest))),
    )


def _fastnn_int8(inputs: Inputs, case: Case) -> Job:
    import fastnn

    model = mlp.modules(fastnn, _MODEL).eval()
    mlp.load_weights(fastnn, model, inputs)
    x = fastnn.from_numpy(inputs["x"])
    predict = fastnn.compile_inference(model, x, precision="int8")
    return Job(lambda: predict(x), read=lambda out: _shifted(out.numpy()))


def _torch_int8(inputs: Inputs, case: Case) -> Job:
    import warnings

    import torch

    model = mlp.modules(torch, _MODEL).eval()
    mlp.load_weights(torch, model, inputs)
    with warnings.catch_warnings():
        # It is deprecated, and the replacement is another package.
        warnings.simplefilter("ignore")
        quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    x = torch.tensor(inputs["x"])
    return Job(torch.inference_mode()(lambda: quantized(x)), read=lambda out: _shifted(np.array(out)))


def _onnx_model(inputs: Inputs) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    nodes, arrays, value = [], [], "x"
    layers = mlp.layers(inputs)
    for i, (weight, bias) in enumerate(layers):
        arrays += [numpy_helper.from_array(weight, f"w{i}"), numpy_helper.from_array(bias, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"z{i}"]))
        value = f"z{i}"
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [value], [f"h{i}"]))
            value = f"h{i}"

    def described(name: str, columns: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns])

    graph = helper.make_graph(
        nodes, "mlp", [described("x", _MODEL.widths[0])], [described(value, mlp.CLASSES)], arrays
    )  # fmt: skip
    # An opset and a file version that the oldest supported runtime can read.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _session(model: bytes, inputs: Inputs) -> Job:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"x": inputs["x"]}
    return Job(lambda: session.run(None, feed), read=lambda outs: _shifted(outs[0]))


def _onnxruntime(inputs: Inputs, case: Case) -> Job:
    return _session(_onnx_model(inputs).SerializeToString(), inputs)


def _onnxruntime_int8(inputs: Inputs, case: Case) -> Job:
    import tempfile
    from pathlib import Path

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(_onnx_model(inputs), source)
        # Signed weights: unsigned ones take 1.25 times as long on AVX2.
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
        return _session(target.read_bytes(), inputs)


def _openvino(inputs: Inputs, case: Case) -> Job:
    try:
        import openvino
    except ImportError as error:
        raise Unavailable("openvino is not installed") from error

    core = openvino.Core()
    model = core.read_model(_onnx_model(inputs).SerializeToString())
    model.reshape([case["batch"], _MODEL.widths[0]])
    threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads})
    request = compiled.create_infer_request()
    return Job(
        lambda: request.infer({0: inputs["x"]}, share_inputs=True), read=lambda outs: _shifted(np.array(outs[0]))
    )


WORKS = (
    Work(
        "inference", tuple(_case(batch) for batch in (1, 16, 256, 10_000)), _inputs, tolerance=1e-5,
        setups={
            "fastnn": _fastnn, "numpy": mlp_numpy.inference, "torch": _torch, "jax": mlp_jax.inference,
            "sklearn": _sklearn, "onnxruntime": _onnxruntime,
        },
        extras=("numpy", "torch", "jax", "sklearn"),
    ),
    Work(
        "inference_int8", tuple(_case(batch) for batch in (1, 256, 10_000)), _inputs, tolerance=0.05,
        setups={
            "numpy": mlp_numpy.inference, "fastnn": _fastnn_int8, "torch": _torch_int8,
            "onnxruntime": _onnxruntime_int8, "openvino": _openvino,
        },
        extras=("numpy",),
    ),
)  # fmt: skip
