"""Quantized tensors, quantize_dynamic, and compile_inference, without PyTorch."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import fastnn as torch
from fastnn import nn
from fastnn.ao.nn.quantized import dynamic
from fastnn.ao.quantization import (
    MinMaxObserver,
    PerChannelMinMaxObserver,
    QConfig,
    default_dynamic_qconfig,
    per_channel_dynamic_qconfig,
    quantize_dynamic,
)
from fastnn.kernels.runtime import launcher


def network(*widths: int, activation: Any = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for m, n in itertools.pairwise(widths):
        layers += [nn.Linear(m, n), activation()]
    return nn.Sequential(*layers[:-1])


def rows(count: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng((count, width)).standard_normal((count, width)).astype(np.float32))


# --------------------------------------------------------------------------------------------
# Quantized tensors


def test_a_quantized_tensor() -> None:
    x = torch.tensor([[-1.0, 0.0, 0.26], [0.36, 0.44, 99.0]])
    t = torch.quantize_per_tensor(x, 0.1, 3, torch.qint8)
    assert t.int_repr().tolist() == [[-7, 3, 6], [7, 7, 127]]
    assert torch.int_repr(t).dtype is torch.int8
    assert (t.q_scale(), t.q_zero_point(), t.qscheme()) == (0.1, 3, torch.per_tensor_affine)
    assert t.is_quantized
    assert not x.is_quantized
    assert t.dtype is torch.qint8
    assert t.shape == (2, 3)
    assert t.numel() == 6
    assert t.dim() == 2
    assert len(t) == 2
    assert np.allclose(t.dequantize().numpy(), [[-1, 0, 0.3], [0.4, 0.4, 12.4]])
    assert repr(t) == (
        "tensor([[-1.0000,  0.0000,  0.3000],\n        [ 0.4000,  0.4000, 12.4000]], size=(2, 3), dtype=torch.qint8,\n"
        "       quantization_scheme=torch.per_tensor_affine, scale=0.1, zero_point=3)"
    )
    assert isinstance(t, torch.Tensor)
    assert torch.is_tensor(t)
    unsigned = torch.quantize_per_tensor(x, 0.1, 3, torch.quint8)
    assert unsigned.int_repr().tolist() == [[0, 3, 6], [7, 7, 255]]


def test_channels() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    t = torch.quantize_per_channel(x, torch.tensor([0.5, 0.25]), torch.tensor([0, 1]), 1, torch.qint8)
    assert t.int_repr().tolist() == [[2, 9], [6, 17]]
    assert t.dequantize().tolist() == x.tolist()
    assert t.qscheme() is torch.per_channel_affine
    assert t.q_per_channel_axis() == 1
    assert t.q_per_channel_scales().dtype is torch.float64
    assert t.q_per_channel_zero_points().tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="q_scale"):
        t.q_scale()
    with pytest.raises(RuntimeError, match="q_per_channel_axis"):
        torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).q_per_channel_axis()


@pytest.mark.parametrize(
    ("call", "exception", "message"),
    [
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.int8), TypeError, "dtype must be torch.qint8"),
        (lambda x: torch.quantize_per_tensor(x.double(), 0.1, 0, torch.qint8), RuntimeError, "only works on Float"),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 128, torch.qint8), RuntimeError, r"in \[-128, 127\].*found 128"),
        (lambda x: torch.quantize_per_tensor([1.0], 0.1, 0, torch.qint8), TypeError, "input must be a Tensor"),
        (
            lambda x: torch.quantize_per_channel(x, torch.ones(3), torch.zeros(2), 0, torch.qint8), RuntimeError,
            r"scales must have shape \(2,\)",
        ),
        (
            lambda x: torch.quantize_per_channel(x, torch.ones(2), torch.zeros(2), 2, torch.qint8), RuntimeError,
            r"axis must be in \[0, 1\], found 2",
        ),
        (lambda x: torch.q_scale(x), NotImplementedError, "takes a quantized tensor, found torch.float32"),
        (lambda x: torch.zeros(2, dtype=torch.qint8), TypeError, "only quantized tensors"),
    ],
)  # fmt: skip
def test_wrong_arguments(call: Any, exception: type, message: str) -> None:
    with pytest.raises(exception, match=message):
        call(torch.ones(2, 2))


def test_other_operations_refuse_quantized_tensors() -> None:
    t = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    for call in (
        lambda: t + 1, lambda: t @ t, lambda: t.sum(), lambda: torch.relu(t), lambda: t.numpy(), lambda: t.tolist(),
        lambda: torch.cat([t, t]), lambda: nn.Linear(2, 2)(t), lambda: t.float(),
    ):  # fmt: skip
        with pytest.raises(NotImplementedError, match=r"not implemented for a tensor of torch.qint8"):
            call()
    assert t.requires_grad is False
    assert t.detach().q_scale() == 0.1
    for other in (copy.deepcopy(t), pickle.loads(pickle.dumps(t)), t.clone(), t.contiguous()):
        assert repr(other) == repr(t)


@pytest.mark.parametrize("by_channel", [False, True])
def test_saved_and_loaded(by_channel: bool) -> None:
    x = rows(3, 4)
    t = torch.quantize_per_tensor(x, 0.05, -2, torch.qint8)
    if by_channel:
        t = torch.quantize_per_channel(x, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 1, 2]), 0, torch.quint8)
    file = io.BytesIO()
    torch.save({"t": t, "kind": t.dtype, "scheme": t.qscheme(), "plain": t.int_repr()}, file)
    file.seek(0)
    loaded = torch.load(file)
    assert repr(loaded["t"]) == repr(t)
    assert loaded["kind"] is t.dtype
    assert loaded["scheme"] is t.qscheme()
    assert loaded["plain"].tolist() == t.int_repr().tolist()


# --------------------------------------------------------------------------------------------
# Models


def test_printed_as_in_pytorch() -> None:
    model = quantize_dynamic(network(4, 3, 2), {nn.Linear}, dtype=torch.qint8)
    assert repr(model) == (
        "Sequential(\n"
        "  (0): DynamicQuantizedLinear(in_features=4, out_features=3, dtype=torch.qint8, "
        "qscheme=torch.per_tensor_affine)\n"
        "  (1): ReLU()\n"
        "  (2): DynamicQuantizedLinear(in_features=3, out_features=2, dtype=torch.qint8, "
        "qscheme=torch.per_tensor_affine)\n)"
    )
    assert not model.training
    assert list(model.parameters()) == []
    assert isinstance(model[0], dynamic.Linear)


def test_which_layers_are_replaced() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), nn.LayerNorm(2))

    def kinds(spec: Any) -> list[str]:
        made = quantize_dynamic(model, spec)
        layers = (made[0], made[1][0], made[1][1])
        return ["" if type(m) is nn.Linear else str(m.weight().qscheme())[10:] for m in layers]

    assert kinds(None) == kinds({nn.Linear}) == ["tensor_affine"] * 3
    assert kinds({"1"}) == ["", "tensor_affine", "tensor_affine"]
    assert kinds({"1.0"}) == ["", "tensor_affine", ""]
    assert kinds({nn.ReLU}) == ["", "", ""]
    mixed = {nn.Linear: default_dynamic_qconfig, "1.1": per_channel_dynamic_qconfig}
    assert kinds(mixed) == ["tensor_affine", "tensor_affine", "channel_affine"]
    assert kinds({nn.Linear: default_dynamic_qconfig, "1.0": None}) == ["tensor_affine", "", "tensor_affine"]
    # The model itself is not replaced, nor changed.
    assert type(quantize_dynamic(nn.Linear(3, 2))) is nn.Linear
    assert type(model[0]) is nn.Linear
    assert model.training
    assert quantize_dynamic(model, inplace=True) is model
    assert isinstance(model[0], dynamic.Linear)


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"dtype": torch.float32}, ValueError, "Don't know how to quantize"),
        ({"qconfig_spec": {nn.Linear}, "dtype": torch.int8}, RuntimeError, "Unknown dtype"),
        ({"qconfig_spec": {nn.Linear}, "dtype": torch.float16}, NotImplementedError, "found dtype torch.float16"),
        ({"qconfig_spec": [nn.Linear]}, AttributeError, "must be a set or a dictionary, found list"),
        ({"model": 3}, AttributeError, "model must be a Module, found int"),
    ],
)
def test_wrong_options(options: dict[str, Any], exception: type, message: str) -> None:
    with pytest.raises(exception, match=message):
        quantize_dynamic(**{"model": network(3, 2), **options})


def test_wrong_inputs_and_weights() -> None:
    layer = quantize_dynamic(network(3, 2))[0]
    for x, message in (
        (torch.ones(3), "at least 2 dimensions"), (torch.ones(2, 4), "must have 3 features"),
        (torch.ones(2, 3, dtype=torch.float64), "expected scalar type Float but found torch.float64"),
    ):
        with pytest.raises(RuntimeError, match=message):
            layer(x)
    with pytest.raises(TypeError, match="input must be a Tensor"):
        layer([1.0])
    w = torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="zero points of 0"):
        layer.set_weight_bias(torch.quantize_per_tensor(w, 0.1, 1, torch.qint8), None)
    with pytest.raises(TypeError, match=r"must be a tensor of torch.qint8, found torch.float32"):
        layer.set_weight_bias(w, None)
    with pytest.raises(ValueError, match=r"bias must have shape \(2,\)"):
        layer.set_weight_bias(torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), torch.ones(3))
    with pytest.raises(ValueError, match="found an observer for weight"):
        QConfig(MinMaxObserver, MinMaxObserver())


def test_shapes() -> None:
    model = quantize_dynamic(network(5, 7, 2))
    with torch.no_grad():
        whole = model(rows(12, 5))
        assert torch.equal(model(rows(12, 5).reshape(3, 4, 5)), whole.reshape(3, 4, 2))
        assert model(torch.ones(0, 5)).shape == (0, 2)
        # A batch in another order of memory, and one whose rows are apart.
        assert torch.equal(model(rows(12, 5).T.contiguous().T), whole)
        wide = torch.zeros(12, 9)
        wide[:, :5] = rows(12, 5)
        assert torch.equal(model(wide[:, :5]), whole)
    assert model(rows(2, 5).requires_grad_()).requires_grad is False


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.LeakyReLU, nn.SiLU])
def test_captured_and_eager_are_the_same_bits(activation: Any) -> None:
    for by_rows in (False, True):
        model = quantize_dynamic(network(20, 50, 30, 3, activation=activation), by_rows=by_rows)
        for count in (1, 9, 70):
            x = rows(count, 20)
            with torch.no_grad():
                torch.set_capture(False)
                eager = model(x)
                torch.set_capture(True)
                captured = [model(x) for _ in range(5)][-1]
            assert torch.equal(eager, captured)
            assert f"({count}, 20)" in torch.explain(model)
            assert "eager" not in torch.explain(model)


def test_another_weight_ends_a_recording() -> None:
    model, x = quantize_dynamic(network(20, 50, 3)), rows(9, 20)
    with torch.no_grad():
        before = [model(x) for _ in range(5)][-1]
        weight = torch.quantize_per_tensor(rows(50, 20), 0.05, 0, torch.qint8)
        model[0].set_weight_bias(weight, None)
        after = model(x)
        torch.set_capture(False)
        expected = model(x)
        torch.set_capture(True)
    assert not torch.equal(before, after)
    assert torch.equal(after, expected)


def test_rows_have_their_own_scale() -> None:
    model = quantize_dynamic(network(20, 50, 3), by_rows=True)
    assert "by_rows=True" in repr(model[0])
    x = rows(9, 20)
    x[4] *= 100
    with torch.no_grad():
        assert torch.equal(model(x)[2:3], model(x[2:3]))


def test_state_dict() -> None:
    model = quantize_dynamic(network(4, 3, 2), {nn.Linear: per_channel_dynamic_qconfig})
    state = model.state_dict()
    assert list(state) == [
        f"{i}.{name}" for i in (0, 2)
        for name in ("scale", "zero_point", "_packed_params.dtype", "_packed_params._packed_params")
    ]  # fmt: skip
    assert state._metadata["0"] == {"version": 4}
    assert state._metadata["0._packed_params"] == {"version": 3}
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    other = quantize_dynamic(network(4, 3, 2))
    assert str(other.load_state_dict(torch.load(file))) == "<All keys matched successfully>"
    x = rows(5, 4)
    assert torch.equal(other(x), model(x))
    state["more"] = torch.ones(1)
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"more"'):
        other.load_state_dict(state)
    with pytest.raises(KeyError, match="scale"):
        other.load_state_dict(network(4, 3, 2).state_dict())


def test_a_whole_model_is_saved_and_copied() -> None:
    model, x = quantize_dynamic(network(4, 3, 2)), rows(5, 4)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (torch.load(file, weights_only=False), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))
        assert repr(other) == repr(model)


def test_hooks_stay() -> None:
    model, seen = network(4, 3, 2), []
    model[0].register_forward_hook(lambda module, args, output: seen.append(type(module)))
    quantize_dynamic(model)(rows(2, 4))
    assert seen == [dynamic.Linear]


def test_observers() -> None:
    weight = torch.tensor([[-1.0, 2.0], [0.5, -0.25]])
    tensor = MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
    tensor(weight)
    scale, zero = tensor.calculate_qparams()
    assert (scale.tolist(), zero.tolist()) == ([np.float32(2 / 127.5).item()], [0])
    channel = PerChannelMinMaxObserver(dtype=torch.qint8, qscheme=torch.per_channel_symmetric)
    channel(weight)
    assert np.allclose(channel.calculate_qparams()[0].numpy(), np.array([2.0, 0.5]) / 127.5)
    affine = MinMaxObserver()
    affine(weight)
    scale, zero = affine.calculate_qparams()
    assert zero.item() == round(1.0 / scale.item())
    assert repr(MinMaxObserver.with_args(dtype=torch.qint8)).endswith("dtype=torch.qint8){}")


# --------------------------------------------------------------------------------------------
# compile_inference


@pytest.mark.parametrize("precision", ["float32", "bf16", "medium"])
def test_compiled_inference_has_the_numbers_of_the_model(precision: str) -> None:
    model = nn.Sequential(nn.Linear(6, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Dropout(0.5), nn.Linear(40, 3))
    model(rows(50, 6))
    predict = torch.compile_inference(model, rows(5, 6), precision=precision)
    assert predict.explain() == "captured for float32 of shape (5, 6)"
    model.eval()
    with torch.no_grad():
        for count in (5, 1, 5, 70, 4500):
            assert torch.equal(predict(rows(count, 6)), model(rows(count, 6)))
    assert not predict(rows(5, 6)).requires_grad


def test_compiled_int8_inference() -> None:
    model = network(6, 40, 3)
    predict, x = torch.compile_inference(model, precision="int8"), rows(30, 6)
    with torch.no_grad():
        assert torch.equal(predict(x), quantize_dynamic(model)(x))
        large = rows(5000, 6)
        assert torch.equal(predict(large), quantize_dynamic(model)(large))
        by_rows = torch.compile_inference(model, precision="int8", by_rows=True)
        assert torch.equal(by_rows(large), quantize_dynamic(model, by_rows=True)(large))
    assert "(2048, 6)" in by_rows.explain()
    single = torch.compile_inference(nn.Linear(6, 3), x, precision="int8")
    assert isinstance(single.model[0], dynamic.Linear)
    assert single(x).shape == (30, 3)


def test_a_compiled_model_is_frozen() -> None:
    model, x = network(6, 40, 3), rows(5, 6)
    predict = torch.compile_inference(model, x)
    before = predict(x).clone()
    with torch.no_grad():
        model[0].weight.zero_()
    assert torch.equal(predict(x), before)
    assert model.training


def test_a_call_launches_each_layer_once_and_keeps_its_output() -> None:
    predict, x = torch.compile_inference(network(6, 40, 20, 3), rows(50, 6), precision="int8"), rows(50, 6)
    seen: list[str] = []
    with launcher.recording(lambda kernel, parts, arrays, scalars: seen.append(kernel.name)):
        first = predict(x)
    assert seen == ["int8_range", "int8_linear", "int8_linear", "int8_linear"]
    kept = first.clone()
    predict(rows(50, 6) + 1)
    assert torch.equal(first, kept)
    one = torch.compile_inference(network(6, 40, 3), rows(1, 6), precision="int8")
    parts: list[int] = []
    with launcher.recording(lambda kernel, count, arrays, scalars: parts.append(count)):
        one(rows(1, 6))
    assert parts == [1, 1]


def test_several_threads_call_one_compiled_model() -> None:
    predict = torch.compile_inference(network(6, 40, 3), precision="int8")
    inputs = [rows(7, 6) + i for i in range(4)]
    expected = [predict(x).clone() for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(200):
            if not torch.equal(predict(inputs[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_cannot_be_captured_runs_eagerly() -> None:
    class Printing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.sum().item() > 0:
                return self.linear(x)
            return -self.linear(x)

    model = Printing()
    predict = torch.compile_inference(model)
    with torch.no_grad():
        for x in (torch.ones(2, 3), -torch.ones(2, 3)):
            assert torch.equal(predict(x), model(x))
    assert predict.explain().startswith("eager for float32 of shape (2, 3)")


def test_wrong_arguments_of_compile_inference() -> None:
    with pytest.raises(TypeError, match="model must be a Module, found int"):
        torch.compile_inference(3)
    with pytest.raises(ValueError, match=r"precision must be one of 'float32'.*found 'int4'"):
        torch.compile_inference(network(3, 2), precision="int4")


# --------------------------------------------------------------------------------------------
# The precision of products


def test_matmul_precision() -> None:
    matmul = torch.backends.mkldnn.matmul
    try:
        for precision, fp32 in (("high", "tf32"), ("medium", "bf16"), ("highest", "ieee")):
            torch.set_float32_matmul_precision(precision)
            assert (torch.get_float32_matmul_precision(), matmul.fp32_precision) == (precision, fp32)
        matmul.fp32_precision = "bf16"
        assert matmul.fp32_precision == "bf16"
        with pytest.raises(RuntimeError, match="use one of them only"):
            torch.get_float32_matmul_precision()
        x = rows(40, 40)
        product = x @ x
        matmul.fp32_precision = "none"
        assert torch.equal(x @ x, product)
        assert torch.get_float32_matmul_precision() == "highest"
        with pytest.raises(RuntimeError, match="Unknown precision: x"):
            matmul.fp32_precision = "x"
        with pytest.raises(TypeError, match="must be a str, found int"):
            matmul.fp32_precision = 3
        with pytest.raises(RuntimeError, match="expects a str, but got int"):
            torch.set_float32_matmul_precision(3)
    finally:
        torch.set_float32_matmul_precision("highest")
        matmul.fp32_precision = "none"


def test_precision_of_training() -> None:
    def step(model: nn.Module, precision: str | None) -> Any:
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        return torch.compile_step(model, nn.MSELoss(), sgd, precision=precision)

    for precision in (None, "float32", "medium", "bf16"):
        step(network(3, 2), precision)(torch.ones(4, 3), torch.ones(4, 2))
    step(network(3, 2).double(), "float64")
    with pytest.raises(TypeError, match=r"precision='float64' needs parameters of float64, found torch.float32"):
        step(network(3, 2), "float64")
    with pytest.raises(TypeError, match=r"needs parameters of float32, found torch.float64"):
        step(network(3, 2).double(), "medium")
    with pytest.raises(ValueError, match="precision must be one of"):
        step(network(3, 2), "half")
    torch.manual_seed(0)
    losses = []
    for precision in (None, "medium"):
        torch.manual_seed(0)
        model = network(3, 2)
        history = torch.fit(model, np.ones((8, 3), np.float32), np.zeros(8, np.int64), precision=precision)
        losses.append(history["loss"])
    assert losses[0] == losses[1]
    with pytest.raises(TypeError, match="precision='float64' needs parameters of float64"):
        torch.fit(network(3, 2), np.ones((8, 3), np.float32), np.zeros(8, np.int64), precision="float64")
