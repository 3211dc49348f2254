"""``autograd`` beyond ``backward``: grad, hooks, Function, checks, modes. Also run with PyTorch if it is installed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from comparison import as_array, leaf

import fastnn

# -- grad ---------------------------------------------------------------------------------------


def test_grad_leaves_the_leaves_alone(lib):
    x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    (g,) = lib.autograd.grad((x * w).sum(), x)
    assert g.tolist() == [3.0, 4.0]
    assert x.grad is None
    assert w.grad is None
    assert not g.requires_grad


def test_grad_of_parameters_leaves_their_places_alone(lib):
    layer = lib.nn.Linear(2, 2)
    out = layer(lib.ones(1, 2)).sum()
    found = lib.autograd.grad(out, list(layer.parameters()), retain_graph=True)
    assert [g.tolist() for g in found] == [[[1.0, 1.0], [1.0, 1.0]], [1.0, 1.0]]
    assert layer.weight.grad is None
    out.backward()
    again = lib.autograd.grad(layer(lib.ones(1, 2)).sum() * 5, layer.weight)
    assert layer.weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert again[0].tolist() == [[5.0, 5.0], [5.0, 5.0]]


def test_grad_by_a_result(lib):
    x = leaf(lib, 2.0)
    y = x * x
    z = y * y
    assert [g.item() for g in lib.autograd.grad(z.sum(), [x, y], retain_graph=True)] == [32.0, 8.0]
    # Through y to x as well, as in PyTorch.
    (g,) = lib.autograd.grad(z.sum(), y)
    assert g.item() == 8.0


def test_grad_of_several_outputs(lib):
    x = leaf(lib, 1.0, 2.0)
    found = lib.autograd.grad([x * 2, (x * x).sum()], x, [lib.tensor([1.0, 10.0]), None])
    assert found[0].tolist() == [4.0, 24.0]


def test_tensors_from_an_iterator_or_a_dictionary(lib):
    """``grad(loss, model.parameters())`` and its siblings."""
    x, y = lib.tensor([2.0], requires_grad=True), lib.tensor([3.0], requires_grad=True)
    one = lib.ones(1)
    assert [g.item() for g in lib.autograd.grad((x * y).sum(), iter([x, y]))] == [3.0, 2.0]
    assert [g.item() for g in lib.autograd.grad((t for t in [x * y, x]), x, (g for g in [one, one]))] == [4.0]
    found = lib.autograd.grad(x * x * y, {"y": y, "x": x}, one, create_graph=True)
    assert {name: g.item() for name, g in found.items()} == {"y": 4.0, "x": 12.0}
    batched = lib.autograd.grad(x * y, {"x": x}, lib.ones(2, 1), is_grads_batched=True)
    assert batched["x"].tolist() == [[3.0], [3.0]]
    for inputs in ((t for t in [x]), {"x": x}):
        x.grad = None
        lib.autograd.backward(iter([x * y, x]), iter([one, one]), inputs=inputs)
        assert x.grad.item() == 4.0
        assert y.grad is None
    with pytest.raises(TypeError):
        lib.autograd.grad(x, 3)


def test_grad_of_what_was_not_used(lib):
    x, w = leaf(lib, 1.0), leaf(lib, 2.0)
    y = (x * 2).sum()
    with pytest.raises(RuntimeError, match="not have been used"):
        lib.autograd.grad(y, w, retain_graph=True)
    assert lib.autograd.grad(y, [x, w], allow_unused=True, retain_graph=True)[1] is None
    assert lib.autograd.grad(y, [x, w], materialize_grads=True)[1].tolist() == [0.0]


def test_grad_runs_only_what_it_needs(lib):
    x, w = leaf(lib, 1.0), leaf(lib, 2.0)
    a, b = (x * x).sum(), (w * w).sum()
    a.backward()
    total = a.detach() + b
    assert lib.autograd.grad(total, w)[0].tolist() == [4.0]


def test_grad_frees_what_was_saved_unless_told(lib):
    x = leaf(lib, 3.0)
    y = (x * x).sum()
    lib.autograd.grad(y, x, retain_graph=True)
    lib.autograd.grad(y, x)
    with pytest.raises(RuntimeError, match="second time"):
        lib.autograd.grad(y, x)


def test_backward_of_several(lib):
    x = leaf(lib, 1.0, 2.0)
    lib.autograd.backward([x * 2, (x * x).sum()], [lib.ones(2), None])
    assert x.grad.tolist() == [4.0, 6.0]


def test_backward_into_some_inputs(lib):
    x, w = leaf(lib, 1.0), leaf(lib, 2.0)
    (x * w).sum().backward(inputs=[x])
    assert x.grad.tolist() == [2.0]
    assert w.grad is None
    layer = lib.nn.Linear(1, 1)
    layer(lib.ones(1, 1)).sum().backward(inputs=[layer.weight])
    assert layer.weight.grad.tolist() == [[1.0]]
    assert layer.bias.grad is None
    with pytest.raises(RuntimeError, match="empty"):
        (x * w).sum().backward(inputs=[])


# -- Hooks --------------------------------------------------------------------------------------


def test_hook_sees_and_replaces_the_gradient_of_a_result(lib):
    x, seen = leaf(lib, 1.0, 2.0), []
    y = x * 3
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = y.register_hook(lambda g: g * 10)
    (y * y).sum().backward()
    assert seen == [[6.0, 12.0]]
    assert x.grad.tolist() == [180.0, 360.0]
    y.register_hook(lambda g: g + 1).remove()
    handle.remove()
    handle.remove()
    z = x * 3
    z.register_hook(lambda g: None)
    (z * z).sum().backward()
    assert x.grad.tolist() == [198.0, 396.0]


def test_hook_of_a_leaf_is_called_once_with_all_of_its_gradient(lib):
    x, seen = leaf(lib, 1.0, 2.0), []
    x.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g * 2)
    (x * x + x).sum().backward()
    assert seen == [[3.0, 5.0]]
    assert x.grad.tolist() == [6.0, 10.0]


def test_hook_of_a_parameter(lib):
    layer, seen = lib.nn.Linear(2, 1, bias=False), []
    layer.weight.register_hook(lambda g: g * 0.5)
    layer.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.tolist()))
    for _ in range(2):
        layer(lib.tensor([[2.0, 4.0]])).sum().backward()
    assert seen == [[[1.0, 2.0]], [[2.0, 4.0]]]


def test_update_in_a_hook(lib):
    """An optimizer's step as soon as a gradient is complete."""
    layer = lib.nn.Linear(1, 1, bias=False)
    with lib.no_grad():
        layer.weight.fill_(3.0)

    def update(p: Any) -> None:
        with lib.no_grad():
            p -= 0.5 * p.grad
        p.grad = None

    layer.weight.register_post_accumulate_grad_hook(update)
    layer(lib.tensor([[2.0]])).sum().backward()
    assert (layer.weight.item(), layer.weight.grad) == (2.0, None)


def test_hook_that_returns_another_shape(lib):
    x = leaf(lib, 1.0, 2.0)
    y = x * 1
    y.register_hook(lambda g: g[:1])
    with pytest.raises(RuntimeError):
        y.sum().backward()


def test_hooks_where_there_is_no_gradient(lib):
    for function in (lib.ones(1).register_hook, lib.ones(1).register_post_accumulate_grad_hook):
        with pytest.raises(RuntimeError):
            function(print)
    with pytest.raises(RuntimeError):
        (leaf(lib, 1.0) * 2).register_post_accumulate_grad_hook(print)


def test_retain_grad(lib):
    x = leaf(lib, 1.0, 2.0)
    y = x * 3
    y.retain_grad()
    y.retain_grad()
    assert y.retains_grad
    assert not x.retains_grad
    (y * y).sum().backward()
    assert y.grad.tolist() == [6.0, 12.0]
    with pytest.raises(RuntimeError):
        lib.ones(1).retain_grad()


def test_retain_grad_after_hooks(lib):
    x = leaf(lib, 1.0)
    y = x * 3
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert (y.grad.tolist(), x.grad.tolist()) == ([10.0], [30.0])


def test_hooks_of_a_node(lib):
    x, seen = leaf(lib, 1.0), []
    y = x * 3
    y.grad_fn.register_hook(lambda grads, outer: seen.append((grads[0].tolist(), outer[0].tolist())))
    y.grad_fn.register_prehook(lambda outer: (outer[0] * 2,))
    y.sum().backward()
    assert seen == [([6.0], [2.0])]
    assert x.grad.tolist() == [6.0]


# -- Function -----------------------------------------------------------------------------------


def exp_of(lib: Any) -> Any:
    class Exp(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            (y,) = ctx.saved_tensors
            return grad * y

    return Exp


def test_function_that_saves_its_result(lib):
    x = leaf(lib, 0.0, 1.0)
    y = exp_of(lib).apply(x)
    assert type(y.grad_fn).__name__ == "ExpBackward" or y.grad_fn.name() == "ExpBackward"
    y.sum().backward()
    np.testing.assert_allclose(as_array(x.grad), np.exp([0.0, 1.0]), rtol=1e-6)


def test_second_derivative_of_a_function(lib):
    x = leaf(lib, 0.5)
    y = exp_of(lib).apply(x)
    (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
    del y
    (h,) = lib.autograd.grad((g * g).sum(), x)
    np.testing.assert_allclose(h.item(), 2 * np.exp(1.0), rtol=1e-6)


def test_function_of_several(lib):
    class MulAdd(lib.autograd.Function):
        @staticmethod
        def forward(ctx, a, b, factor, unused=None):
            ctx.save_for_backward(a, b)
            ctx.factor = factor
            assert ctx.needs_input_grad[:2] == (True, False)
            return a * b * factor, a + b

        @staticmethod
        def backward(ctx, first, second):
            _, b = ctx.saved_tensors
            return first * b * ctx.factor + second, None, None, None

    a, b = leaf(lib, 1.0, 2.0), lib.tensor([3.0, 4.0])
    product, total = MulAdd.apply(a, b, 10)
    assert (product.tolist(), total.tolist()) == ([30.0, 80.0], [4.0, 6.0])
    product.sum().backward(retain_graph=True)
    assert a.grad.tolist() == [30.0, 40.0]
    (product.sum() + total.sum()).backward()
    assert a.grad.tolist() == [61.0, 81.0]


def test_function_without_materialized_gradients(lib):
    seen = []

    class Two(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, first, second):
            seen.append((first is None, second is None))
            return second * 2

    x = leaf(lib, 1.0)
    Two.apply(x)[1].sum().backward()
    assert seen == [(True, False)]
    assert x.grad.tolist() == [2.0]


def test_function_in_place(lib):
    class Double(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    x = leaf(lib, 1.0, 2.0)
    y = x * 1
    z = Double.apply(y)
    assert z is y
    assert y.tolist() == [2.0, 4.0]
    (y * y).sum().backward()
    assert x.grad.tolist() == [8.0, 16.0]


def test_function_with_a_result_that_has_no_gradient(lib):
    class Sort(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            values, indices = x.sort()
            ctx.mark_non_differentiable(indices)
            ctx.save_for_backward(indices)
            return values, indices

        @staticmethod
        def backward(ctx, grad, _):
            (indices,) = ctx.saved_tensors
            return lib.zeros(3).index_add(0, indices, grad)

    x = leaf(lib, 3.0, 1.0, 2.0)
    values, indices = Sort.apply(x)
    assert (values.requires_grad, indices.requires_grad) == (True, False)
    (values * lib.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [3.0, 1.0, 2.0]


def test_function_with_a_context_set_up_apart(lib):
    class Scale(lib.autograd.Function):
        @staticmethod
        def forward(x, factor):
            return x * factor

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.factor = inputs[1]

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.factor, None

    x = leaf(lib, 1.0)
    Scale.apply(x, 3.0).sum().backward()
    assert x.grad.tolist() == [3.0]


def test_straight_through_estimator(lib):
    class Sign(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sign()

        @staticmethod
        def backward(ctx, grad):
            return grad

    x = leaf(lib, -2.0, 3.0)
    Sign.apply(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("returned", [(), (1, 2)])
def test_function_that_returns_too_few_or_too_many_gradients(lib, returned):
    class Bad(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return tuple(grad for _ in returned)

    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        Bad.apply(leaf(lib, 1.0)).sum().backward()


def test_function_errors(lib):
    class Empty(lib.autograd.Function):
        pass

    with pytest.raises(NotImplementedError):
        Empty.apply(leaf(lib, 1.0))

    class NoBackward(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    with pytest.raises(NotImplementedError):
        NoBackward.apply(leaf(lib, 1.0)).sum().backward()
    assert not NoBackward.apply(lib.ones(1)).requires_grad

    class WrongShape(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum()

        @staticmethod
        def backward(ctx, grad):
            return grad.expand(7)

    with pytest.raises(RuntimeError, match="invalid gradient"):
        WrongShape.apply(leaf(lib, 1.0, 2.0)).backward()


def test_function_whose_saved_operand_is_changed(lib):
    class Square(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 2 * x * grad

    y = leaf(lib, 1.0) * 1
    z = Square.apply(y)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    w = Square.apply(leaf(lib, 1.0)).sum()
    w.backward()
    with pytest.raises(RuntimeError, match="second time"):
        w.backward()


def test_once_differentiable(lib):
    class Once(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @lib.autograd.function.once_differentiable
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 2 * x * grad

    x = leaf(lib, 3.0)
    v = leaf(lib, 1.0)
    (g,) = lib.autograd.grad(Once.apply(x), x, v, create_graph=True)
    assert g.tolist() == [6.0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_function_is_freed_without_the_garbage_collector(lib):
    gc.collect()
    gc.disable()
    try:
        x = leaf(lib, 1.0)
        y = exp_of(lib).apply(x)
        gone = weakref.ref(y)
        z = y.sum()
        del y
        z.backward()
        del z
        assert gone() is None
    finally:
        gc.enable()


def test_function_under_no_grad(lib):
    with lib.no_grad():
        assert not exp_of(lib).apply(leaf(lib, 1.0)).requires_grad


# -- Checks and modes ---------------------------------------------------------------------------


def test_gradcheck(lib):
    x = lib.tensor([[0.3, -0.7]], dtype=lib.float64, requires_grad=True)
    w = lib.tensor([[0.2], [1.1]], dtype=lib.float64, requires_grad=True)
    assert lib.autograd.gradcheck(lambda x, w: (x @ w).tanh(), (x, w))
    assert lib.autograd.gradgradcheck(lambda x, w: (x @ w).tanh(), (x, w))

    class Wrong(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 3

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        lib.autograd.gradcheck(Wrong.apply, (x,))
    assert not lib.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)
    with pytest.raises(ValueError, match="requires_grad"):
        lib.autograd.gradcheck(lambda x: x, (x.detach(),))


def test_anomaly(lib):
    x = leaf(lib, 0.0)
    with pytest.warns(UserWarning, match="Anomaly"):
        detect = lib.autograd.detect_anomaly()
    with pytest.warns(UserWarning, match="Error detected in SqrtBackward0"):  # noqa: SIM117  # the error comes second
        with detect, pytest.raises(RuntimeError, match="nan values"):
            (x.sqrt() * 0).sum().backward()
    (x.sqrt() * 0).sum().backward()
    with lib.autograd.set_detect_anomaly(False):
        assert not lib.is_anomaly_enabled()


def test_inference_mode(lib):
    x = leaf(lib, 1.0)
    with lib.inference_mode():
        y = x * 2
        assert lib.is_inference_mode_enabled()
        assert not lib.is_grad_enabled()
    assert not y.requires_grad
    assert lib.is_grad_enabled()
    assert not lib.is_inference_mode_enabled()
    with lib.inference_mode(False):
        assert (x * 2).requires_grad

    @lib.inference_mode()
    def predict(x):
        return x * 2

    @lib.inference_mode
    def predict_too(x):
        return x * 2

    assert not predict(x).requires_grad
    assert not predict_too(x).requires_grad


@pytest.mark.parametrize("create_graph", [False, True])
def test_functional(lib, create_graph):
    f = lib.autograd.functional
    x, y = lib.tensor([1.0, 2.0]), lib.tensor([3.0, 4.0])
    jacobian = f.jacobian(lambda x, y: (x * y, x.sum()), (x, y), create_graph=create_graph)
    assert [[b.tolist() for b in row] for row in jacobian] == [
        [[[3.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 2.0]]],
        [[1.0, 1.0], [0.0, 0.0]],
    ]
    hessian = f.hessian(lambda x, y: (x * x * y).sum(), (x, y), create_graph=create_graph)
    assert hessian[0][0].tolist() == [[6.0, 0.0], [0.0, 8.0]]
    assert hessian[0][1].tolist() == [[2.0, 0.0], [0.0, 4.0]]
    value, product = f.vjp(lambda x: x * x, x, y, create_graph=create_graph)
    assert (value.tolist(), product.tolist()) == ([1.0, 4.0], [6.0, 16.0])
    assert f.jvp(lambda x: x * x, x, y, create_graph=create_graph)[1].tolist() == [6.0, 16.0]
    assert f.vhp(lambda x: (x**3).sum(), x, y, create_graph=create_graph)[1].tolist() == [18.0, 48.0]
    assert f.hvp(lambda x: (x**3).sum(), x, y, create_graph=create_graph)[1].tolist() == [18.0, 48.0]
    with pytest.raises(RuntimeError):
        f.vjp(lambda x: x * x, x)
    with pytest.raises(TypeError):
        f.jacobian(lambda x: 3.0, x)


def test_jacobian_of_what_does_not_depend_on_the_input(lib):
    found = lib.autograd.functional.jacobian(lambda x: lib.ones(2), lib.ones(3))
    assert found.tolist() == [[0.0] * 3] * 2
    with pytest.raises(RuntimeError):
        lib.autograd.functional.jacobian(lambda x: lib.ones(2), lib.ones(3), strict=True)


def test_variable(lib):
    x = lib.autograd.Variable(lib.ones(2), requires_grad=True)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    assert isinstance(lib.ones(1), lib.autograd.Variable)


def test_profiler_counts_launches():
    with fastnn.autograd.profiler.profile() as prof:
        fastnn.ones(2, 2) @ fastnn.ones(2, 2)
    assert "gemm.float32" in str(prof)
    assert prof.self_cpu_time_total > 0
    with fastnn.autograd.profiler.profile(enabled=False) as prof:
        fastnn.ones(2, 2) @ fastnn.ones(2, 2)
    assert not prof.key_averages()


# -- In place -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y.exp_(), lambda y: y.mul_(y.detach().clone()), lambda y: y.sin_(), lambda y: y.pow_(3),
        lambda y: y.div_(3),
        lambda y: y.clamp_(min=1.5), lambda y: y.sub_(y, alpha=2), lambda y: y.addcmul_(y.clone(), y.clone()),
        lambda y: y.masked_fill_(y > 1.5, 0.5), lambda y: y.t_(), lambda y: y.unsqueeze_(0),
        lambda y: y.abs_().log_(),
    ],
)  # fmt: skip
def test_in_place_operations_that_read_what_they_overwrite(lib, change):
    """The gradient is that of the same operation on a copy."""
    found = []
    for copy in (False, True):
        x = lib.tensor([[1.0, 2.0]], requires_grad=True)
        y = x * 1
        z = change(y.clone()) if copy else change(y)
        (z * z).sum().backward()
        found.append(x.grad.tolist())
    assert found[0] == found[1]


def test_in_place_multiplication_by_what_needs_a_gradient(lib):
    x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    y = x * 1
    y *= w
    y.sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([3.0, 4.0], [1.0, 2.0])


def test_shapes_changed_in_place(lib):
    x = lib.zeros(2, 1, 3)
    assert tuple(x.squeeze_().shape) == (2, 3)
    assert tuple(x.t_().shape) == (3, 2)
    assert tuple(x.unsqueeze_(0).shape) == (1, 3, 2)
    assert tuple(x.transpose_(0, 2).shape) == (2, 3, 1)
    with pytest.raises(RuntimeError):
        lib.ones(1, requires_grad=True).squeeze_()


@pytest.mark.parametrize(
    ("hook", "kind"),
    [
        (lambda gi, go: gi[0] * 2, TypeError),
        (lambda gi, go: [gi[0]], TypeError),
        (lambda gi, go: (gi[0][:1],), RuntimeError),
        (lambda gi, go: (gi[0].double(),), RuntimeError),
        (lambda gi, go: (gi[0], gi[0]), RuntimeError),
    ],
)
def test_what_a_hook_of_an_operation_returns_fits(lib: Any, hook: Any, kind: type[Exception]) -> None:
    x = lib.ones(2, 3, requires_grad=True)
    y = x.exp()
    y.grad_fn.register_hook(hook)
    with pytest.raises(kind):
        y.sum().backward()
    assert x.grad is None


class _Both(fastnn.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2, x * 3

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 2 + grads[1] * 3


def test_hooks_on_a_node_with_several_results() -> None:
    """They get the gradients of all results, from whichever result the node was taken."""
    for position in (0, 1):
        x = fastnn.arange(2.0).requires_grad_()
        results = _Both.apply(x)
        seen: list[Any] = []
        node = results[position].grad_fn
        assert node.next_functions[0][0].variable is x
        node.register_prehook(lambda given: (given[0], given[1] * 10))
        node.register_hook(lambda inner, outer, seen=seen: seen.append((inner, outer)))
        (results[0].sum() + 2 * results[1].sum()).backward()
        ((inner,), outer) = seen[0]
        assert inner.tolist() == x.grad.tolist() == [62.0, 62.0]
        assert [g.tolist() for g in outer] == [[1.0, 1.0], [20.0, 20.0]]


def test_hooks_on_a_node_of_whose_results_one_is_used() -> None:
    x = fastnn.arange(2.0).requires_grad_()
    first, second = _Both.apply(x)
    seen: list[Any] = []
    first.grad_fn.register_prehook(lambda given: seen.append([None if g is None else g.tolist() for g in given]))
    second.sum().backward(retain_graph=True)
    assert seen == [[None, [1.0, 1.0]]]


def test_hooks_on_a_decomposition() -> None:
    a = fastnn.tensor([[2.0, 1.0], [1.0, 3.0]], requires_grad=True)
    values, vectors = fastnn.linalg.eigh(a)
    seen: list[Any] = []
    vectors.grad_fn.register_hook(lambda inner, outer: seen.append((inner, outer)))
    values.sum().backward()
    ((inner,), outer) = seen[0]
    assert inner is not None
    assert np.allclose(a.grad.numpy(), np.eye(2), atol=1e-6)
    assert [g is None for g in outer] == [False, True]


def _lists(grads: Any) -> list[Any]:
    return [None if g is None else g.tolist() for g in grads]


@pytest.mark.parametrize("used", [(0, 2), (0,), (2,)])
def test_hooks_of_a_function_that_saves_its_first_result(lib, used):
    class Several(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            first, second, third = x * 2, x * 3, x * 4
            ctx.mark_non_differentiable(third)
            ctx.save_for_backward(first, third)
            return first, "text", second, third, 5

        @staticmethod
        def backward(ctx, first, text, second, third, number):
            assert len(ctx.saved_tensors) == 2
            return first * 2 + second * 3

    x = lib.ones(1, requires_grad=True)
    results, before, after = Several.apply(x), [], []
    node = results[0].grad_fn
    node.register_prehook(lambda given: (before.append(_lists(given)), given)[1])
    node.register_hook(lambda inner, outer: after.append(_lists(outer)))
    total = sum([(i + 1) * results[i] for i in used]).sum()
    total.backward(retain_graph=True)
    total.backward()
    expected = [[i + 1.0] if i in used else None for i in range(5)]
    assert before == [expected] * 2
    assert after == [expected] * 2
    assert x.grad.tolist() == [2 * sum({0: 2.0, 2: 9.0}[i] for i in used)]


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda lib, g: g[:1], RuntimeError, "incorrect number of values"),
        (lambda lib, g: (*g, g[0]), RuntimeError, "incorrect number of values"),
        (lambda lib, g: list(g), TypeError, "expected tuple, but hook returned 'list'"),
        (lambda lib, g: g[0], TypeError, "expected tuple, but hook returned"),
        (lambda lib, g: (1.0, None), TypeError, "expected Variable, but hook returned 'float'"),
        (lambda lib, g: (lib.ones(3), None), RuntimeError, "has changed the size of value"),
        (lambda lib, g: (g[0].double(), None), RuntimeError, "has changed the type of value"),
        (lambda lib, g: (g[0], g[0]), RuntimeError, "can't replace a None gradient with a non-None value"),
    ],
)
def test_what_a_prehook_returns_is_checked(lib, returned, error, message):
    class Two(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, first, second):
            return first * 2 + second * 3

    x = lib.ones(2, requires_grad=True)
    first, _ = Two.apply(x)
    first.grad_fn.register_prehook(lambda given: returned(lib, given))
    with pytest.raises(error, match=message):
        first.sum().backward()
    assert x.grad is None


def test_a_prehook_that_takes_a_gradient_away(lib):
    x = lib.ones(2, requires_grad=True)
    y = x * 2
    y.grad_fn.register_prehook(lambda given: (None,))
    (y + x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


PASSES = {
    "apart": (lambda a, b: ((2 * a).sum(), (3 * b).sum()), [[[2.0], None], [None, [3.0]]], 2),
    "together": (lambda a, b: ((2 * a + 3 * b).sum(),), [[[2.0], [3.0]]], 1),
    "one, then both": (lambda a, b: ((2 * a).sum(), (2 * a + 3 * b).sum()), [[[2.0], None], [[2.0], [3.0]]], 2),
    "the same twice": (lambda a, b: ((2 * a).sum(), (4 * a).sum()), [[[2.0], None], [[4.0], None]], 2),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_hook_of_several_tensors_knows_the_pass(lib, name):
    losses, expected, count = PASSES[name]
    a, b = lib.ones(1, requires_grad=True), lib.ones(1, requires_grad=True)
    seen: list[Any] = []
    first: list[Any] = []
    register = lib.autograd.graph.register_multi_grad_hook
    handles = register([a, b], lambda grads: seen.append(_lists(grads))), register([a, b], first.append, mode="any")
    for loss in losses(a, b):
        loss.backward()
    assert seen == expected
    assert len(first) == count
    for handle in handles:
        handle.remove()


def test_a_hook_of_several_tensors_inside_which_another_pass_runs(lib):
    a = lib.ones(1, requires_grad=True)
    x, y = a * 2, a * 3
    seen: list[Any] = []
    lib.autograd.graph.register_multi_grad_hook([x, y], lambda grads: seen.append(_lists(grads)))

    def inside(grad: Any) -> None:
        with lib.enable_grad():
            (a * 5).sum().backward()

    y.register_hook(inside)
    (x * y).sum().backward(retain_graph=True)
    x.sum().backward()
    assert seen == [[[3.0], [2.0]], [[1.0], None]]
