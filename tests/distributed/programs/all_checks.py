"""Checks of torch.distributed that each rank of a job runs. The ranks compute what they expect by themselves."""

import copy
import os
import tempfile

import fastnn as torch
from fastnn import nn
from fastnn.nn.parallel import DistributedDataParallel

dist, F = torch.distributed, nn.functional
Op = dist.ReduceOp
dist.init_process_group("gloo")
r, n = dist.get_rank(), dist.get_world_size()
others = list(range(n))


def close(found, expected, tolerance=3e-7):
    return all((a - b).abs().max().item() <= tolerance for a, b in zip(found, expected, strict=True))


def same_on_all(tensors):
    every = [None] * n
    dist.all_gather_object(every, [t.detach().clone() for t in tensors])
    return all(torch.equal(a, b) for e in every for a, b in zip(e, every[0], strict=True))


def grads(model):
    return [p.grad for p in model.parameters()]


def collectives():
    t, of = torch.arange(5.0) + r, [torch.arange(5.0) + k for k in others]
    expected = {"SUM": sum(of), "AVG": sum(of) / n, "MIN": of[0], "MAX": of[-1]}
    for op, wanted in expected.items():
        found = t.clone()
        dist.all_reduce(found, getattr(Op, op))
        assert torch.allclose(found, wanted), op
    found = torch.full((2,), r + 1)
    dist.all_reduce(found, Op.PRODUCT)
    assert found.tolist() == [1 * 2 * 3 if n == 3 else 2] * 2
    found = torch.tensor([1 << r, 7])
    dist.all_reduce(found, Op.BOR)
    assert found.tolist() == [2**n - 1, 7]
    # MPI has no type for these.
    half, truth = torch.full((3,), float(r), dtype=torch.float16), torch.tensor([r == 0, True])
    dist.all_reduce(half)
    dist.all_reduce(truth, Op.MIN)
    assert half.tolist() == [n * (n - 1) / 2] * 3
    assert truth.tolist() == [False, True]
    # Not contiguous; a view of a leaf's memory; the version counts the write.
    base = torch.zeros(4, 3)
    part = base.t()
    part += r
    before = part._version
    dist.all_reduce(part)
    assert (base == n * (n - 1) / 2).all()
    assert part._version > before
    work = dist.all_reduce(found := t.clone(), async_op=True)
    assert work.wait()
    assert work.is_completed()
    assert torch.equal(found, sum(of))
    dist.broadcast(found := t.clone(), n - 1)
    assert torch.equal(found, of[-1])
    dist.reduce(found := t.clone(), 0, Op.AVG)
    assert torch.allclose(found, sum(of) / n) or r > 0
    gathered = [torch.zeros(5) for _ in others]
    dist.all_gather(gathered, t)
    assert all(map(torch.equal, gathered, of))
    dist.all_gather_into_tensor(found := torch.zeros(n, 5), t)
    assert torch.equal(found, torch.stack(of))
    gathered = [torch.zeros(5) for _ in others] if r == 1 else None
    dist.gather(t, gathered, 1)
    assert gathered is None or all(map(torch.equal, gathered, of))
    dist.scatter(found := torch.zeros(5), of if r == 1 else None, 1)
    assert torch.equal(found, t)
    dist.reduce_scatter(found := torch.zeros(5), [t * k for k in others])
    assert torch.equal(found, sum(of) * r)
    dist.reduce_scatter_tensor(found := torch.zeros(5), torch.cat([t * k for k in others]), Op.AVG)
    assert torch.allclose(found, sum(of) * r / n)
    dist.all_to_all_single(found := torch.zeros(n), torch.arange(float(n)) + 10 * r)
    assert found.tolist() == [10 * k + r for k in others]
    outs = [torch.zeros(k + 1) for k in others]
    dist.all_to_all(outs, [torch.full((r + 1,), float(k)) for k in others])
    assert [out.tolist() for out in outs] == [[float(r)] * (k + 1) for k in others]
    works = [dist.isend(t, (r + 1) % n), dist.irecv(found := torch.zeros(5))]
    assert all(work.wait() for work in works)
    assert torch.equal(found, of[r - 1])
    assert works[1].source_rank() == (r - 1) % n
    if r == 0:
        dist.send(t, 1)
    elif r == 1:
        assert dist.recv(found, 0) == 0
        assert torch.equal(found, of[0])
    objects = [{"rank": r}, "x" * r]
    dist.broadcast_object_list(objects, n - 1)
    assert objects == [{"rank": n - 1}, "x" * (n - 1)]
    every = [None] * n if r == 0 else None
    dist.gather_object((r, "y" * r), every)
    assert every is None or every == [(k, "y" * k) for k in others]
    dist.scatter_object_list(found := [None], [f"item {k}" for k in others] if r == 0 else None)
    assert found == [f"item {r}"]
    dist.barrier()


def groups():
    first, rest = dist.new_group([0]), dist.new_group(range(1, n))
    mine, other = (first, rest) if r == 0 else (rest, first)
    assert dist.get_rank(other) == dist.get_world_size(other) == -1
    assert dist.all_reduce(torch.ones(1), group=other) is None
    dist.all_reduce(found := torch.ones(1), group=mine)
    assert found.item() == dist.get_world_size(mine) == (1 if r == 0 else n - 1)
    dist.broadcast(found := torch.tensor([float(r)]), 0 if r == 0 else n - 1, group=mine)
    assert found.item() == (0 if r == 0 else n - 1)
    assert dist.get_global_rank(rest, 0) == 1 if r else dist.get_process_group_ranks(first) == [0]


def ordered():
    rows = [torch.randn(3000, generator=torch.Generator().manual_seed(k)) for k in others]
    total = rows[0].clone()
    for row in rows[1:]:
        total += row
    dist.all_reduce(found := rows[r].clone())
    assert torch.allclose(found, total, atol=1e-6)
    torch.use_deterministic_algorithms(True)
    for size in (7, 3000):
        dist.all_reduce(found := rows[r][:size].clone())
        assert torch.equal(found, total[:size])
    torch.use_deterministic_algorithms(False)


def net(seed, normed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16) if normed else nn.Identity(), nn.ReLU(), nn.Linear(16, 3))


X = torch.randn(24, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 3, (24,), generator=torch.Generator().manual_seed(2))
x, y = X[r * (24 // n) :][: 24 // n], Y[r * (24 // n) :][: 24 // n]


def training(normed):
    one, many = net(0, normed), net(r, normed)
    if normed:
        many = nn.SyncBatchNorm.convert_sync_batchnorm(many)
    ddp = DistributedDataParallel(many)
    assert close(many.parameters(), one.parameters(), 0)
    steps = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (one, ddp)]
    for _ in range(6):
        for optimizer, model, (a, b) in zip(steps, (one, ddp), ((X, Y), (x, y)), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
        assert close(grads(many), grads(one))
        for optimizer in steps:
            optimizer.step()
    assert same_on_all(many.parameters())
    assert close([b.double() for b in many.buffers()], [b.double() for b in one.buffers()], 1e-6)
    return one, ddp, steps


def plain():
    one, ddp, steps = training(False)
    many = ddp.module
    # The flat buffer itself is sent; the module is captured.
    assert ddp._buckets[0].in_place() is not None
    assert "captured" in torch.explain(many)

    def zero():
        for optimizer in steps:
            optimizer.zero_grad()

    zero()
    (2 * F.cross_entropy(one(X), Y)).backward()
    with ddp.no_sync():
        F.cross_entropy(ddp(x), y).backward()
    assert not same_on_all(grads(many))
    F.cross_entropy(ddp(x), y).backward()
    assert close(grads(many), grads(one), 1e-6)
    # One rank holds its gradient, so the new one lies elsewhere there.
    held = grads(many) if r == 0 else None
    zero()
    F.cross_entropy(one(X), Y).backward()
    F.cross_entropy(ddp(x), y).backward()
    assert (ddp._buckets[0].in_place() is None) == (r == 0)
    assert close(grads(many), grads(one))
    del held
    # Gradients that are returned are those of this rank.
    before = [g.clone() for g in grads(many)]
    torch.autograd.grad(F.cross_entropy(ddp(x), y), list(many.parameters()))
    assert close(grads(many), before, 0)
    # To the bit: a process that sums up the batches of all ranks.
    torch.use_deterministic_algorithms(True)
    zero()
    F.cross_entropy(ddp(x), y).backward()
    same = copy.deepcopy(many)
    total = None
    for k in others:
        same.zero_grad()
        F.cross_entropy(same(X[k * len(x) :][: len(x)]), Y[k * len(x) :][: len(x)]).backward()
        total = [g.clone() for g in grads(same)] if total is None else [a + g for a, g in zip(total, grads(same))]
    assert all(torch.equal(g, t / n) for g, t in zip(grads(many), total, strict=True))
    torch.use_deterministic_algorithms(False)
    with ddp.join():
        for _ in range(2 + r):
            steps[1].zero_grad()
            F.cross_entropy(ddp(x), y).backward()
            steps[1].step()
    assert same_on_all(many.parameters())
    copied = copy.deepcopy(ddp)
    assert close([copied(x)], [ddp(x)], 0)
    F.cross_entropy(copied(x), y).backward()
    assert same_on_all(grads(copied))


def compiled():
    """A captured step, many of them in one call, and the plain loop: the same bits, buffers of rank 0 included."""
    found = []
    for how in ("loop", "step", "run"):
        ddp = DistributedDataParallel(net(0, True))
        optimizer = torch.optim.Adam(ddp.parameters())
        step = torch.compile_step(ddp, nn.CrossEntropyLoss(), optimizer, max_grad_norm=0.5)
        rows = torch.randint(0, 24, (12, 5), generator=torch.Generator().manual_seed(r))
        if how == "run":
            losses = step.run(X, Y, rows).tolist()
        elif how == "step":
            losses = [step(X[i], Y[i]).item() for i in rows]
        else:
            losses = []
            for i in rows:
                optimizer.zero_grad()
                loss = F.cross_entropy(ddp(X[i]), Y[i])
                loss.backward()
                nn.utils.clip_grad_norm_(ddp.parameters(), 0.5)
                optimizer.step()
                losses.append(loss.item())
        if how != "loop":
            assert step.explain() == "captured: 1 program", step.explain()
        assert same_on_all(ddp.parameters())
        found.append([torch.tensor(losses), *map(torch.clone, ddp.parameters()), *map(torch.clone, ddp.buffers())])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    # One rank holds a gradient, and runs eagerly; the others replay.
    held = grads(ddp) if r == 0 else None
    step(X[:5], Y[:5])
    assert ("eager" in step.explain()) == (r == 0)
    del held
    for _ in range(2):
        step(X[:5], Y[:5])
    assert "eager" not in step.explain(), step.explain()
    assert same_on_all(ddp.parameters())
    with ddp.no_sync():
        step(x, y)
    assert not same_on_all(ddp.parameters())
    # An error of one rank's hook leaves the step undone.
    before = [p.detach().clone() for p in ddp.parameters()]
    for _ in range(3):
        step(X[:7], Y[:7])
    before = [p.detach().clone() for p in ddp.parameters()]
    ddp.register_comm_hook(None, failing)
    try:
        step(X[:7], Y[:7])
    except ArithmeticError:
        assert close(ddp.parameters(), before, 0)
    else:
        raise AssertionError("no error")


def failing(state, bucket):
    raise ArithmeticError("no mean")


def fits():
    """``fit`` of all ranks together is that of one process with batches of all ranks."""

    def fit(batch, rows=24, epochs=3, **options):
        torch.manual_seed(5)
        model = net(0, False)
        adam = torch.optim.Adam(model.parameters(), lr=0.01)
        rate = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.5, 10)
        history = torch.fit(model, X[:rows], Y[:rows], epochs=epochs, batch_size=batch, optimizer=adam,
                            validation=(X, Y), step_scheduler=rate, **options)  # fmt: skip
        return model, history

    # Of 24 rows, two or three ranks take 6 or 3 a step; the last step has fewer.
    each = 10 // n
    (one, alone), (many, together) = fit(each * n), fit(each, distributed=True)
    assert "captured: 2 programs" in together.explanation, together.explanation
    assert same_on_all(many.parameters())
    assert close(many.parameters(), one.parameters(), 1e-6)
    for name in ("loss", "validation_loss", "validation_accuracy"):
        assert all(abs(a - b) < 1e-6 for a, b in zip(alone[name], together[name], strict=True)), name
    # Rows that cannot be shared are left out.
    _, short = fit(each, 24 - n + 1, distributed=True)
    assert len(short) == 3
    # A checkpoint of all ranks, from which one process goes on.
    folder = [tempfile.mkdtemp()]
    dist.broadcast_object_list(folder)
    path = os.path.join(folder[0], "run.pt")
    fit(each, epochs=2, distributed=True, checkpoint=path)
    dist.barrier()
    resumed, history = fit(each * n, epochs=3, resume=path)
    assert len(history) == 3
    assert close(resumed.parameters(), one.parameters(), 1e-6)
    again, _ = fit(each, epochs=3, distributed=True, resume=path)
    assert close(again.parameters(), many.parameters(), 0)
    try:
        torch.fit(net(0, False), X, Y, batch_size=3 + r, distributed=True)
    except ValueError as error:
        assert "all ranks must have the same rows and batch_size, found by rank 24 rows with batches of 3" in str(error)
    else:
        raise AssertionError("no error")


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, x, first):
        return {"out": [self.a(x) if first else self.b(x)]}


def unused():
    model = DistributedDataParallel(Branch(), find_unused_parameters=True)
    model(torch.ones(1, 2), r == 0)["out"][0].sum().backward()
    module = model.module
    assert module.c.weight.grad is None
    assert close([module.a.weight.grad, module.b.weight.grad], [torch.ones(1, 2) / n, torch.ones(1, 2) * (n - 1) / n])
    strict = DistributedDataParallel(Branch())
    try:
        strict(torch.ones(1, 2), True)["out"][0].sum().backward()
    except RuntimeError as error:
        assert "no gradient to b.weight, b.bias, c.weight, c.bias" in str(error)
    else:
        raise AssertionError("no error")
    try:
        DistributedDataParallel(nn.Linear(2 + r, 1))
    except RuntimeError as error:
        assert "DDP expects same model across all ranks" in str(error)
    else:
        raise AssertionError("no error")


def early_end():
    model = DistributedDataParallel(nn.Linear(2, 1))
    try:
        with model.join(throw_on_early_termination=True):
            for _ in range(1 + r):
                model(torch.ones(1, 2)).sum().backward()
    except RuntimeError as error:
        assert "exhausted inputs" in str(error)
    else:
        raise AssertionError("no error")


def half_on_the_wire(state, bucket):
    small = bucket.buffer().half() / n
    dist.all_reduce(small)
    future = torch.Future()
    future.set_result(small.float())
    return future


def hooked():
    model = DistributedDataParallel(nn.Linear(2, 1))
    model.register_comm_hook(None, half_on_the_wire)
    model(torch.full((1, 2), r + 1.0)).sum().backward()
    assert close([model.module.weight.grad], [torch.full((1, 2), (n + 1) / 2)], 1e-3)


def compressed():
    hooks = torch.distributed.algorithms.ddp_comm_hooks.default_hooks
    plain_grads = None
    for hook, tolerance in ((None, 0), (hooks.allreduce_hook, 1e-7), (hooks.bf16_compress_hook, 2**-7),
                            (hooks.fp16_compress_hook, 2**-10)):  # fmt: skip
        ddp = DistributedDataParallel(net(0, False))
        if hook is not None:
            ddp.register_comm_hook(None, hook)
        F.cross_entropy(ddp(x), y).backward()
        plain_grads = plain_grads or grads(ddp)
        largest = max(g.abs().max().item() for g in plain_grads)
        assert close(grads(ddp), plain_grads, tolerance * largest), hook
        assert same_on_all(grads(ddp))
    # A captured step calls the hook as well.
    found = []
    for is_captured in (False, True):
        ddp = DistributedDataParallel(net(0, False))
        kind = torch.distributed.algorithms.ddp_comm_hooks.DDPCommHookType.BF16_COMPRESS
        torch.distributed.algorithms.ddp_comm_hooks.register_ddp_comm_hook(kind, ddp)
        step = torch.compile_step(ddp, nn.CrossEntropyLoss(), torch.optim.SGD(ddp.parameters(), lr=0.1))
        for _ in range(4):
            (step if is_captured else step._eager)(*((x, y) if is_captured else ([x, y],)))
        found.append([p.detach().clone() for p in ddp.parameters()])
    assert all(map(torch.equal, *found))


assert os.environ["WORLD_SIZE"] == str(n)
collectives()
groups()
ordered()
plain()
training(True)
compiled()
fits()
unused()
early_end()
hooked()
compressed()
dist.destroy_process_group()
print(f"rank {r} of {n} is done")
