"""Module: hooks, conversions, names, state with hooks and extra state; the same as in PyTorch."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from comparison import as_array

import fastnn
from fastnn import nn


def net(lib: Any) -> Any:
    """Two layers with fixed weights, and a buffer."""
    model = lib.nn.Sequential(lib.nn.Linear(3, 2), lib.nn.Tanh(), lib.nn.Linear(2, 1))
    rng = np.random.default_rng(0)
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(lib.tensor(rng.standard_normal(tuple(p.shape)).astype("f4")))
    model.register_buffer("count", lib.tensor([1, 2]))
    model.register_buffer("mean", lib.ones(2))
    return model


def x_of(lib: Any) -> Any:
    return lib.tensor(np.linspace(-1, 1, 12, dtype="f4").reshape(4, 3), requires_grad=True)


# -- Forward hooks ----------------------------------------------------------------------------


def test_forward_hooks(lib):
    model, seen = net(lib), []
    pre = model.register_forward_pre_hook(lambda m, args: seen.append((m is model, len(args))))
    post = model[0].register_forward_hook(lambda m, args, out: seen.append((tuple(args[0].shape), tuple(out.shape))))
    model(x_of(lib))
    assert seen == [(True, 1), ((4, 3), (4, 2))]
    pre.remove()
    post.remove()
    post.remove()
    model(x_of(lib))
    assert len(seen) == 2


def test_hooks_that_replace(lib):
    layer = lib.nn.Linear(2, 2)
    x = lib.ones(1, 2)
    plain = layer(x)
    with layer.register_forward_pre_hook(lambda m, args: args[0] * 0):
        assert layer(x).tolist() == [layer.bias.tolist()]
    with layer.register_forward_pre_hook(lambda m, args: (args[0] * 0,)):
        assert layer(x).tolist() == [layer.bias.tolist()]
    with layer.register_forward_hook(lambda m, args, out: out * 2):
        np.testing.assert_array_equal(as_array(layer(x)), as_array(plain * 2))
    np.testing.assert_array_equal(as_array(layer(x)), as_array(plain))


def test_hooks_with_keyword_arguments(lib):
    class Scaled(lib.nn.Module):
        def forward(self, x: Any, factor: Any = 1) -> Any:
            return x * factor

    m, seen = Scaled(), []
    m.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": kwargs["factor"] + 1}), with_kwargs=True)
    m.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs), with_kwargs=True)
    assert m(lib.ones(1), factor=2).tolist() == [3.0]
    assert seen == [{"factor": 3}]
    m.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(RuntimeError, match=r"tuple of \(new_args, new_kwargs\)"):
        m(lib.ones(1), factor=2)


def test_order_of_hooks(lib):
    m, seen = lib.nn.Identity(), []
    for name, prepend in (("a", False), ("b", False), ("c", True)):
        m.register_forward_hook(lambda m, args, out, name=name: seen.append(name), prepend=prepend)
        m.register_forward_pre_hook(lambda m, args, name=name: seen.append(name + "'"), prepend=prepend)
    m(1)
    assert seen == ["c'", "a'", "b'", "c", "a", "b"]


def test_hook_that_is_always_called(lib):
    class Fails(lib.nn.Module):
        def forward(self) -> Any:
            raise ValueError("no")

    m, seen = Fails(), []
    m.register_forward_hook(lambda m, args, out: seen.append("never"))
    m.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ValueError, match="no"):
        m()
    assert seen == [None]


def test_hooks_of_all_modules(lib):
    module_file = lib.nn.modules.module
    model, seen = net(lib), []
    handles = [
        module_file.register_module_forward_hook(lambda m, args, out: seen.append(type(m).__name__)),
        module_file.register_module_forward_pre_hook(lambda m, args: seen.append(type(m).__name__[0])),
    ]
    try:
        model(x_of(lib))
    finally:
        for h in handles:
            h.remove()
    assert seen == ["S", "L", "Linear", "T", "Tanh", "L", "Linear", "Sequential"]
    model(x_of(lib))
    assert len(seen) == 8


def test_hooks_survive_a_copy(lib):
    model, seen = net(lib), []
    model[1].register_forward_hook(seen_hook)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        HEARD.clear()
        twin(x_of(lib))
        assert HEARD == ["Tanh"]
    assert seen == []


HEARD: list[str] = []


def seen_hook(module: Any, args: Any, out: Any) -> None:
    HEARD.append(type(module).__name__)


def test_a_hook_inside_a_sequential_is_called():
    """A fused pair runs as two kernels if one of the two has a hook, with the same numbers."""
    model = net(fastnn)
    expected, seen = as_array(model(x_of(fastnn))), []
    for i in (0, 1):
        with model[i].register_forward_hook(lambda m, args, out: seen.append(type(m).__name__)):
            np.testing.assert_allclose(as_array(model(x_of(fastnn))), expected, rtol=1e-6)
    assert seen == ["Linear", "Tanh"]


# -- Backward hooks ---------------------------------------------------------------------------


def grads_of(lib: Any, model: Any, x: Any) -> list[Any]:
    for p in model.parameters():
        p.grad = None
    x.grad = None
    model(x).sum().backward()
    return [as_array(t.grad) for t in (x, *model.parameters())]


def test_backward_hooks(lib):
    model, seen, x = net(lib), [], x_of(lib)
    expected = grads_of(lib, model, x)

    def after(module: Any, grad_input: Any, grad_output: Any) -> None:
        shapes = [[tuple(g.shape) for g in grads] for grads in (grad_input, grad_output)]
        seen.append((type(module).__name__, *shapes))

    def before(module: Any, grad_output: Any) -> None:
        seen.append((type(module).__name__, [tuple(g.shape) for g in grad_output]))

    handles = [model[2].register_full_backward_hook(after), model[0].register_full_backward_hook(after)]
    handles.append(model[0].register_full_backward_pre_hook(before))
    found = grads_of(lib, model, x)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert seen == [
        ("Linear", [(4, 2)], [(4, 1)]),
        ("Linear", [(4, 2)]),
        ("Linear", [(4, 3)], [(4, 2)]),
    ]
    for h in handles:
        h.remove()
    grads_of(lib, model, x)
    assert len(seen) == 3


def test_backward_hooks_that_replace(lib):
    layer = lib.nn.Linear(2, 1, bias=False)
    x = lib.ones(1, 2, requires_grad=True)
    with layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,)):
        layer(x).sum().backward()
    np.testing.assert_allclose(as_array(x.grad), 10 * as_array(layer.weight), rtol=1e-6)
    np.testing.assert_array_equal(as_array(layer.weight.grad), 1)
    layer.weight.grad = x.grad = None
    with layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 3,)):
        layer(x).sum().backward()
    np.testing.assert_allclose(as_array(x.grad), 3 * as_array(layer.weight), rtol=1e-6)
    np.testing.assert_array_equal(as_array(layer.weight.grad), 3)


def test_backward_hook_where_no_input_needs_a_gradient(lib):
    layer, seen = lib.nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, [tuple(g.shape) for g in go])))
    with pytest.warns(UserWarning, match="Full backward hook is firing"):
        layer(lib.ones(3, 2)).sum().backward()
    assert seen == [((None,), [(3, 1)])]
    with lib.no_grad():
        layer(lib.ones(3, 2))
    assert len(seen) == 1


def test_backward_hook_of_several_inputs_and_outputs(lib):
    class Two(lib.nn.Module):
        def forward(self, x: Any, n: int, y: Any) -> Any:
            return x * n, y + x

    m, seen = Two(), []
    m.register_full_backward_hook(lambda m, gi, go: seen.append(([g is None for g in gi], [g is None for g in go])))
    x, y = lib.ones(2, requires_grad=True), lib.ones(2, requires_grad=True)
    a, b = m(x, 3, y)
    (a.sum() + b.sum()).backward()
    assert seen == [([False, True, False], [False, False])]
    assert x.grad.tolist() == [4.0, 4.0]


# -- Conversions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda lib, m: m.double(),
        lambda lib, m: m.to(lib.float64),
        lambda lib, m: m.to("cpu", lib.float64),
        lambda lib, m: m.to(lib.device("cpu"), lib.float64, True),
        lambda lib, m: m.to(device="cpu", dtype=lib.float64, non_blocking=True),
        lambda lib, m: m.to(dtype=lib.float64),
        lambda lib, m: m.to(lib.zeros(1, dtype=lib.float64)),
        lambda lib, m: m.type(lib.float64),
    ],
)
def test_to_float64_and_back(lib, convert):
    model = net(lib)
    held, before = model[0].weight, as_array(model[0].weight)
    model(x_of(lib)).sum().backward()
    assert convert(lib, model) is model
    assert model[0].weight is held
    assert {p.dtype for p in model.parameters()} == {lib.float64}
    assert held.grad.dtype == lib.float64
    assert model.mean.dtype == lib.float64
    np.testing.assert_array_equal(as_array(held), before.astype("f8"))
    assert model(x_of(lib).double().detach()).dtype == lib.float64
    assert model.float()[0].weight.dtype == lib.float32
    np.testing.assert_array_equal(as_array(held), before)


def test_integer_buffers_keep_their_dtype(lib):
    model = net(lib).double()
    assert model.count.dtype == lib.int64


def test_conversion_keeps_the_fast_layout():
    model = net(fastnn)
    strides = model[0].weight._data.strides
    model.double().float()
    assert model[0].weight._data.strides == strides


def test_devices(lib):
    model = net(lib)
    assert model.to("cpu") is model
    assert model.cpu() is model
    assert model.to(lib.device("cpu")) is model
    assert next(model.parameters()).device.type == "cpu"
    for move in (lambda m: m.cuda(), lambda m: m.to("cuda"), lambda m: m.cuda(0), lambda m: m.to("cuda:0")):
        with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|cuda|accelerator"):
            move(model)
    # A module without parameters moves to any device.
    lib.nn.ReLU().cuda()
    with pytest.raises(RuntimeError, match="device"):
        model.to("nowhere")


def test_wrong_conversions(lib):
    for wrong in (lambda m: m.to(lib.int64), lambda m: m.to(lib.float32, lib.float64), lambda m: m.to([]),
                  lambda m: m.to(lib.ones(1), lib.float64), lambda m: m.to(colour="red")):  # fmt: skip
        with pytest.raises(TypeError):
            wrong(net(lib))


def test_compile_and_share_memory():
    model = net(fastnn)
    assert model.compile() is model
    with pytest.warns(UserWarning, match="other processes get copies"):
        assert model.share_memory() is model


# -- Names ------------------------------------------------------------------------------------


def test_paths(lib):
    model = lib.nn.Sequential(OrderedDict(body=net(lib), head=lib.nn.Linear(1, 1)))
    assert model.get_submodule("") is model
    assert model.get_submodule("body.2") is model.body[2]
    assert model.get_parameter("body.0.weight") is model.body[0].weight
    assert model.get_buffer("body.count") is model.body.count
    for wrong in (lambda: model.get_submodule("tail"), lambda: model.get_submodule("body.0.weight"),
                  lambda: model.get_parameter("body.count"), lambda: model.get_parameter("head.w"),
                  lambda: model.get_buffer("head.weight"), lambda: model.get_buffer("body.none")):  # fmt: skip
        with pytest.raises(AttributeError):
            wrong()
    new = lib.nn.ReLU()
    model.set_submodule("body.1", new)
    assert model.body[1] is new
    model.set_submodule("tail", new)
    assert model.tail is new
    for wrong, error in ((lambda: model.set_submodule("", new), ValueError),
                         (lambda: model.set_submodule("body.9", new, strict=True), AttributeError),
                         (lambda: model.set_submodule("head.weight", new), AttributeError)):  # fmt: skip
        with pytest.raises(error):
            wrong()


def test_duplicates_may_be_kept(lib):
    layer = lib.nn.Linear(1, 1)
    model = lib.nn.Sequential(layer, layer)
    twice = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert [n for n, _ in model.named_parameters(remove_duplicate=False)] == twice
    assert [n for n, _ in model.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    assert [n for n, _ in model.named_parameters(prefix="m", recurse=True)] == ["m.0.weight", "m.0.bias"]


def test_texts_of_errors(lib):
    m = lib.nn.Linear(1, 1)
    for wrong, error, text in [
        (lambda: setattr(m, "weight", 3), TypeError, "cannot assign 'int' as parameter 'weight'"),
        (lambda: m.register_parameter("a.b", None), KeyError, "parameter name can.*t contain"),
        (lambda: m.register_buffer("", None), KeyError, "buffer name can.*t be empty string"),
        (lambda: m.add_module("weight", None), KeyError, "attribute 'weight' already exists"),
        (lambda: m.add_module(1, None), TypeError, "module name should be a string. Got int"),
        (lambda: m.nothing, AttributeError, "'Linear' object has no attribute 'nothing'"),
        (lambda: lib.nn.Module()(1), NotImplementedError, 'is missing the required "forward" function'),
        (lambda: m.train("yes"), ValueError, "training mode is expected to be boolean"),
    ]:
        with pytest.raises(error, match=text):
            wrong()


def test_assignment_before_init(lib):
    for value, text in ((lib.nn.Parameter(lib.ones(1)), "parameters"), (lib.nn.ReLU(), "module")):

        class Forgot(lib.nn.Module):
            def __init__(self, value: Any) -> None:
                self.a = value

        with pytest.raises(AttributeError, match=rf"cannot assign {text} before Module.__init__\(\) call"):
            Forgot(value)

    class Early(lib.nn.Module):
        def __init__(self) -> None:
            self.size = 3
            super().__init__()

    assert Early().size == 3


def test_buffers(lib):
    m = lib.nn.Module()
    m.a = lib.nn.Buffer(lib.zeros(2))
    m.b = lib.nn.Buffer(lib.ones(1), persistent=False)
    assert [n for n, _ in m.named_buffers()] == ["a", "b"]
    assert list(m.state_dict()) == ["a"]
    m.a = lib.ones(2)
    assert m.state_dict()["a"].tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match="as buffer 'a'"):
        m.a = 3
    del m.a
    assert not hasattr(m, "a")


def test_registration_hooks(lib):
    file, seen = lib.nn.modules.module, []
    handles = [
        file.register_module_parameter_registration_hook(lambda m, name, p: seen.append(name)),
        file.register_module_buffer_registration_hook(lambda m, name, b: seen.append(name)),
        file.register_module_module_registration_hook(lambda m, name, c: seen.append(name)),
    ]
    try:
        m = lib.nn.Module()
        m.layer = lib.nn.PReLU()
        m.register_buffer("mean", lib.ones(1))
    finally:
        for h in handles:
            h.remove()
    assert seen == ["weight", "layer", "mean"]


def test_dir_and_repr(lib):
    model = net(lib)
    assert {"forward", "training", "count"} <= set(dir(model))
    assert "0" not in dir(model)

    class Wordy(lib.nn.Module):
        def extra_repr(self) -> str:
            return "one\ntwo"

    assert repr(Wordy()) == "Wordy(\n  one\n  two\n)"
    assert model._get_name() == "Sequential"


# -- State ------------------------------------------------------------------------------------


def test_state_dict_options(lib):
    model = net(lib)
    state = model.state_dict(prefix="net.")
    assert list(state)[:2] == ["net.count", "net.mean"]
    assert state._metadata["net.0"] == {"version": 1}
    held = OrderedDict(a=1)
    assert model[0].state_dict(destination=held) is held
    assert list(held) == ["a", "weight", "bias"]
    assert model.state_dict(keep_vars=True)["0.weight"] is model[0].weight


def test_extra_state(lib):
    class Counted(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 3

        def get_extra_state(self) -> Any:
            return {"calls": self.calls}

        def set_extra_state(self, state: Any) -> None:
            self.calls = state["calls"]

    model = lib.nn.Sequential(Counted())
    state = model.state_dict()
    assert list(state) == ["0._extra_state"]
    model[0].calls = 0
    model.load_state_dict(state)
    assert model[0].calls == 3
    with pytest.raises(RuntimeError, match=r"0\._extra_state"):
        model.load_state_dict({})
    with pytest.raises(RuntimeError, match=r"0\._extra_state"):
        lib.nn.Sequential(lib.nn.ReLU()).load_state_dict(state)


def test_a_subclass_may_load_in_its_own_way(lib):
    class Renamed(lib.nn.Linear):
        def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
            if f"{prefix}w" in state_dict:
                state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}w")
            super()._load_from_state_dict(state_dict, prefix, *args)

    model = lib.nn.Sequential(Renamed(1, 1))
    model.load_state_dict({"0.w": lib.ones(1, 1) * 5, "0.bias": lib.ones(1)})
    assert model[0].weight.item() == 5


def test_hooks_of_the_state(lib):
    m, seen = lib.nn.Linear(1, 1), []
    m.register_state_dict_pre_hook(lambda module, prefix, keep_vars: seen.append(("pre", prefix, keep_vars)))
    m._register_state_dict_hook(lambda module, state, prefix, metadata: state.update(more=1))
    m.register_load_state_dict_pre_hook(lambda module, state, prefix, *rest: state.pop("more"))
    m.register_load_state_dict_post_hook(lambda module, keys: seen.append(keys.missing_keys))
    state = m.state_dict()
    assert "more" in state
    m.load_state_dict(state)
    assert seen == [("pre", "", False), []]


def test_load_state_dict_with_assign(lib):
    a, b = net(lib).double(), net(lib)
    b[0].weight.requires_grad_(False)
    b.load_state_dict(a.state_dict(), assign=True)
    assert b[0].weight.dtype == lib.float64
    assert [p.requires_grad for p in b.parameters()] == [False, True, True, True]
    assert all(isinstance(p, lib.nn.Parameter) for p in b.parameters())
    np.testing.assert_array_equal(as_array(b[2].weight), as_array(a[2].weight))
    assert b.mean is not a.mean


def test_what_fits_is_loaded_where_a_key_fails(lib):
    model = net(lib)
    before = {n: as_array(t) for n, t in model.state_dict().items()}
    state = {n: t + 1 for n, t in model.state_dict().items()}
    state["2.bias"] = lib.zeros(7)
    with pytest.raises(RuntimeError, match=r"2\.bias"):
        model.load_state_dict(state)
    for n, t in model.state_dict().items():
        np.testing.assert_array_equal(as_array(t), before[n] if n == "2.bias" else before[n] + 1)


# -- Lazy and parallel ------------------------------------------------------------------------


def test_lazy_linear(lib):
    layer = lib.nn.LazyLinear(3)
    assert layer.has_uninitialized_params()
    assert "in_features=0" in repr(layer)
    with pytest.raises(RuntimeError, match="shape of an uninitialized parameter"):
        _ = layer.weight.shape
    twin, weight = copy.deepcopy(layer), layer.weight
    assert layer(lib.ones(5, 4)).shape == (5, 3)
    assert type(layer) is lib.nn.Linear
    assert layer.weight is weight
    assert type(weight) is lib.nn.Parameter
    assert (layer.in_features, tuple(layer.weight.shape), tuple(layer.bias.shape)) == (4, (3, 4), (3,))
    assert np.abs(as_array(layer.weight)).max() <= 0.5
    layer(lib.ones(5, 4)).sum().backward()
    assert weight.grad is not None
    assert twin.has_uninitialized_params()
    twin.load_state_dict(layer.state_dict())
    assert twin(lib.ones(2, 4)).tolist() == layer(lib.ones(2, 4)).tolist()


def test_optimizer_made_before_the_shape_is_known():
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(1))
    optimizer = fastnn.optim.SGD(model.parameters(), lr=0.1)
    model(fastnn.ones(2, 3))
    before = as_array(model[0].weight)
    model(fastnn.ones(2, 3)).sum().backward()
    optimizer.step()
    assert model[2].weight.grad is not None
    assert model[0].weight._data.shape == before.shape


def test_data_parallel(lib):
    model = lib.nn.DataParallel(net(lib))
    np.testing.assert_array_equal(as_array(model(x_of(lib))), as_array(model.module(x_of(lib))))
    assert next(iter(model.state_dict())) == "module.count"


def test_import_paths(lib):
    for path, name in [
        ("activation", "ELU"), ("activation", "ReLU"), ("activation", "Softmax"), ("container", "ModuleList"),
        ("container", "ParameterDict"), ("linear", "Identity"), ("module", "Module"), ("sparse", "Embedding"),
        ("loss", "CrossEntropyLoss"), ("flatten", "Flatten"), ("distance", "CosineSimilarity"),
    ]:  # fmt: skip
        assert getattr(getattr(lib.nn.modules, path), name) is getattr(lib.nn, name)
    assert lib.nn.modules.Linear is lib.nn.Linear
    assert lib.nn.parameter.Parameter is lib.nn.Parameter


def test_import_statements():
    from fastnn.nn.modules.container import ModuleDict
    from fastnn.nn.modules.module import Module
    from fastnn.nn.parameter import Parameter, UninitializedParameter, is_lazy

    assert (ModuleDict, Module, Parameter) == (nn.ModuleDict, nn.Module, nn.Parameter)
    assert is_lazy(UninitializedParameter())
    with pytest.raises(AttributeError):
        _ = nn.modules.linear.Nonsense
    with pytest.raises(AttributeError):
        _ = nn.modules.Nonsense


# -- States with mismatches -------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"strict": False}, {"assign": True}])
def test_states_of_old_versions_have_no_counter(lib, options):
    for kind in (lib.nn.BatchNorm1d(2), lib.nn.InstanceNorm1d(2, track_running_stats=True)):
        model = lib.nn.Sequential(kind)
        model[0].num_batches_tracked.fill_(7)
        state = {n: t for n, t in model.state_dict().items() if "num_batches" not in n}
        keys = model.load_state_dict(state, **options)
        assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
        assert model[0].num_batches_tracked.item() == 7
        assert "0.num_batches_tracked" not in state
        # A state dict with the current version must have it.
        found = model.state_dict()
        del found["0.num_batches_tracked"]
        if options.get("strict", True):
            with pytest.raises(RuntimeError, match="num_batches_tracked"):
                model.load_state_dict(found, **options)
    assert lib.nn.BatchNorm1d(2).state_dict()._metadata[""]["version"] == 2


def test_running_statistics_for_a_layer_without(lib):
    layer = lib.nn.InstanceNorm1d(2)
    with pytest.raises(RuntimeError, match=r'Unexpected running stats buffer.*"running_mean" and "running_var"'):
        layer.load_state_dict({"running_mean": lib.zeros(2), "running_var": lib.zeros(2)})


def test_one_error_names_all_and_the_rest_is_loaded(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Linear(2, 1))
    state = {"0.weight": lib.ones(9, 9), "0.bias": lib.ones(2) * 5, "1.weight": [1], "other": lib.ones(1)}
    for strict in (True, False):
        with pytest.raises(RuntimeError) as raised:
            model.load_state_dict(state, strict=strict)
        lines = str(raised.value).split("\n\t")
        expected = ["Error(s)", "Missing key(s)", "Unexpected key(s)", "size mismatch for 0.weight", "While copying"]
        assert len(lines) == (5 if strict else 3)
        for line, start in zip(lines, expected if strict else expected[:1] + expected[3:], strict=True):
            assert line.startswith(start)
        assert model[0].bias.tolist() == [5.0, 5.0]
        model[0].bias.data.zero_()


def test_a_child_has_a_dictionary_of_its_own(lib):
    seen = []

    class Renamed(lib.nn.Linear):
        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            seen.append(list(state_dict))
            state_dict["1.bias"] = lib.ones(1) * 9
            super()._load_from_state_dict(state_dict, prefix, *rest)

    model = lib.nn.Sequential(Renamed(1, 1), lib.nn.Linear(1, 1))
    state = {n: lib.ones_like(t) for n, t in model.state_dict().items()}
    model.load_state_dict(state)
    assert seen == [["0.weight", "0.bias"]]
    assert model[1].bias.tolist() == [1.0]
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias"]


# -- Return values of hooks -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_what_backward_hooks_may_return(lib):
    def gradient(register, returned, needs=True):
        layer = lib.nn.Linear(2, 2)
        layer.load_state_dict({"weight": lib.eye(2), "bias": lib.zeros(2)})
        getattr(layer, register)(lambda *args: returned)
        x = lib.ones(1, 2, requires_grad=needs)
        (layer(x) * 1).sum().backward()
        return x.grad if needs else layer.bias.grad

    after, before = "register_full_backward_hook", "register_full_backward_pre_hook"
    for none in (None, (None,)):
        assert gradient(after, none, needs=False).tolist() == [1.0, 1.0]
    assert gradient(after, (None,)) is None
    assert gradient(after, None).tolist() == [[1.0, 1.0]]
    for several in ((lib.ones(1, 2) * 3,), [lib.ones(1, 2) * 3]):
        assert gradient(after, several).tolist() == [[3.0, 3.0]]
        assert gradient(before, several).tolist() == [[3.0, 3.0]]
    with pytest.raises(RuntimeError, match="no input requires gradient should always return None"):
        gradient(after, (lib.ones(1, 2),), needs=False)
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 2, but expected 1"):
        gradient(after, (None, None))
    with pytest.raises(RuntimeError, match="invalid number of grad_output, got 0, but expected 1"):
        gradient(before, ())


def test_backward_hooks_are_for_gradients_of_the_outputs(lib):
    seen = []

    class Pair(lib.nn.Module):
        def forward(self, x):
            return {"y": x * 2}

    model = Pair()
    model.register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs))
    x = lib.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="module output should be a Tensor or a tuple of Tensors"):
        model(x)["y"].sum().backward()
    assert (seen, x.grad.tolist()) == ([], [2.0, 2.0])


@pytest.mark.filterwarnings("ignore:Using a non-full backward hook")
def test_hooks_of_the_last_operation(lib):
    """``register_backward_hook``: gradients of the operands of the last operation."""
    layer, seen = lib.nn.Linear(2, 1), []
    layer.load_state_dict({"weight": lib.ones(1, 2), "bias": lib.zeros(1)})
    model = lib.nn.Sequential(layer, lib.nn.ReLU())
    handle = layer.register_backward_hook(
        lambda module, inputs, outputs: seen.append([None if g is None else g.sum().item() for g in inputs])
    )
    x = lib.ones(3, 2)
    model(x).sum().backward()
    assert seen == [[3.0, None, 6.0]]
    assert layer.weight.grad.tolist() == [[3.0, 3.0]]
    model(x.requires_grad_()).sum().backward()
    assert seen[1:] == [[3.0, 6.0, 6.0]]
    assert layer.weight.grad.tolist() == [[6.0, 6.0]]
    handle.remove()
    model(x).sum().backward()
    assert len(seen) == 2
    with pytest.raises(RuntimeError, match="Cannot use both"):
        layer.register_full_backward_hook(print)
    model.register_full_backward_hook(print)
    with pytest.raises(RuntimeError, match="Cannot use both"):
        model.register_backward_hook(print)


def test_hooks_of_the_last_operation_that_change_or_warn(lib):
    module = lib.nn.Tanh()
    module.register_backward_hook(lambda module, inputs, outputs: (inputs[0] * 3,))
    x = lib.zeros(2, requires_grad=True)
    module(x * 1).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    with pytest.warns(FutureWarning, match="multiple autograd Nodes"):
        module(x)


def test_what_full_backward_hooks_watch_may_not_change_in_place(lib):
    model = lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.ReLU(inplace=True))
    model[1].register_full_backward_hook(lambda *args: None)
    with pytest.raises(RuntimeError, match="modified inplace"):
        model(lib.ones(1, 2))
    with pytest.raises(RuntimeError, match="modified inplace"):
        model[1](lib.ones(1, 2, requires_grad=True) * 1)
    with lib.no_grad():
        model(lib.ones(1, 2))


def test_what_hooks_of_tensors_may_return(lib):
    def run(returned):
        x = lib.ones(2, requires_grad=True)
        x.register_hook(lambda grad: returned)
        (x * 3).sum().backward()
        return x.grad.tolist()

    assert run(None) == [3.0, 3.0]
    assert run(lib.ones(2)) == [1.0, 1.0]
    for wrong, error, message in (
        (3, TypeError, "expected Variable, but hook"), (lib.ones(3), RuntimeError, "has changed the size of value"),
        (lib.ones(2).double(), RuntimeError, "has changed the type of value"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            run(wrong)


def test_full_backward_hooks_of_an_output_that_is_not_used(lib: Any) -> None:
    class Two(lib.nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x * 2, y * 3

    model, seen = Two(), []
    model.register_full_backward_hook(
        lambda m, gi, go: seen.append([[None if g is None else g.tolist() for g in grads] for grads in (gi, go)])
    )
    x, y = lib.ones(2, requires_grad=True), lib.ones(2, requires_grad=True)
    model(x, y)[0].sum().backward()
    assert seen == [[[[2.0, 2.0], [0.0, 0.0]], [[1.0, 1.0], None]]]
    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0, 2.0], [0.0, 0.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", "a"), ("a\n\nb", "a\n\n b"), ("a\n   \nb", "a\n\n b"), ("a\nb\n", "a\n b\n"), ("\na", "\n a")],
)
def test_indented_lines(lib, text, expected):
    assert lib.nn.modules.module._addindent(text, 1) == expected


def test_members_by_a_function():
    """Libraries that derive from Module list members of their own, with PyTorch's order of arguments."""
    model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2))
    found = dict(model._named_members(lambda module: module._buffers.items(), "m"))
    assert found.keys() == {f"m.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert not dict(model._named_members(lambda module: module._parameters.items(), recurse=False))


def test_numbers_of_tensors_differ():
    p, q = nn.Parameter(fastnn.ones(2)), nn.Parameter(fastnn.ones(2))
    assert p._cdata == p._cdata != q._cdata
