"""A process alone: every function of torch.distributed, the sampler's order, the options of ``fastnn launch``."""

from __future__ import annotations

import argparse
import datetime
import importlib.util

import pytest

import fastnn
from fastnn import nn
from fastnn._cli import launch
from fastnn.distributed import environment, process_group
from fastnn.nn.parallel import DistributedDataParallel

dist = fastnn.distributed


@pytest.fixture
def alone():
    dist.init_process_group("gloo", rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_collectives():
    t = fastnn.arange(4.0)
    for op in dist.ReduceOp:
        found = t.clone() if not op.name.startswith("B") else fastnn.arange(4)
        dist.all_reduce(found, op)
        assert found.tolist() == [0, 1, 2, 3]
    for function in (dist.broadcast, dist.reduce):
        function(found := t.clone(), 0)
        assert fastnn.equal(found, t)
    for function in (dist.all_gather_into_tensor, dist.reduce_scatter_tensor, dist.all_to_all_single):
        function(found := fastnn.zeros(4), t)
        assert fastnn.equal(found, t)
    for function in (dist.all_gather, dist.all_to_all):
        function(outs := [fastnn.zeros(4)], t if function is dist.all_gather else [t])
        assert fastnn.equal(outs[0], t)
    dist.gather(t, outs := [fastnn.zeros(4)])
    assert fastnn.equal(outs[0], t)
    for function in (dist.scatter, dist.reduce_scatter):
        function(found := fastnn.zeros(4), [t])
        assert fastnn.equal(found, t)
    dist.all_gather_object(every := [None], "a")
    dist.gather_object("a", gathered := [None])
    dist.scatter_object_list(scattered := [None], ["a"])
    dist.broadcast_object_list(sent := ["a"])
    assert every == gathered == scattered == sent == ["a"]
    work = dist.barrier(async_op=True)
    assert work.wait()
    assert work.is_completed()
    dist.monitored_barrier(timeout=datetime.timedelta(seconds=1))
    group = dist.new_group([0])
    assert (dist.get_rank(group), dist.get_world_size(group), dist.get_backend(group)) == (0, 1, "gloo")
    assert dist.get_process_group_ranks(group) == [0]
    assert work.get_future().wait() == []


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dist.init_process_group("gloo"), ValueError, "twice"),
        (lambda: dist.all_reduce([1.0]), TypeError, "Expected parameter `tensor` to be a Tensor"),
        (lambda: dist.all_reduce(fastnn.ones(1), "sum"), TypeError, "op must be a ReduceOp"),
        (lambda: dist.all_reduce(fastnn.ones(1).long(), dist.ReduceOp.AVG), RuntimeError, "floating point"),
        (lambda: dist.all_reduce(fastnn.ones(1), dist.ReduceOp.BOR), RuntimeError, "needs integers"),
        (lambda: dist.broadcast(fastnn.ones(1), 1), ValueError, "src must be a rank from 0 to 0, found 1"),
        (lambda: dist.broadcast(fastnn.ones(1)), ValueError, "Must specify src"),
        (lambda: dist.all_gather([], fastnn.ones(1)), ValueError, "one tensor for each of the 1 ranks, found 0"),
        (lambda: dist.all_gather([fastnn.ones(2)], fastnn.ones(1)), ValueError, "must have 1 numbers, found 2"),
        (lambda: dist.all_gather([fastnn.ones(1).double()], fastnn.ones(1)), TypeError, "different dtypes"),
        (lambda: dist.gather(fastnn.ones(1)), ValueError, "must be specified on destination rank"),
        (lambda: dist.send(fastnn.ones(1), 0), ValueError, "should not be the same"),
        (lambda: dist.recv(fastnn.ones(1), 0), ValueError, "should not be the same"),
        (lambda: dist.new_group([0, 0]), ValueError, "ranks must differ"),
        (lambda: dist.new_group([1]), ValueError, "ranks must be from 0 to 0"),
        (lambda: dist.all_reduce(fastnn.ones(1), group="x"), TypeError, "group must be a ProcessGroup"),
        (lambda: DistributedDataParallel(nn.ReLU()), RuntimeError, "doesn't have any parameters"),
        (lambda: DistributedDataParallel(nn.Linear(1, 1), device_ids=[0]), ValueError, r"found device_ids \[0\]"),
        (lambda: DistributedDataParallel(nn.LazyLinear(1)), RuntimeError, "uninitialized parameters"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_errors_of_init(monkeypatch):
    for options, error, message in (
        ({"backend": "nccl"}, ValueError, "backend must be 'gloo' or 'mpi'.*found 'nccl'"),
        ({"timeout": 5}, TypeError, "timedelta"),
        ({"world_size": 1, "rank": 1}, ValueError, "found 1"),
    ):
        with pytest.raises(error, match=message):
            dist.init_process_group(**options)
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(ValueError, match="WORLD_SIZE must be a number, found 'many'"):
        dist.init_process_group()
    monkeypatch.setattr(process_group, "is_available", lambda: False)
    with pytest.raises(ModuleNotFoundError, match=r"several processes needs mpi4py .*pip install 'fastnn\[mpi\]'"):
        dist.init_process_group("gloo", world_size=2, rank=0)
    assert not dist.is_initialized()


@pytest.mark.usefixtures("alone")
def test_model_of_one_process():
    inner = nn.Sequential(nn.Linear(3, 4), nn.SyncBatchNorm(4), nn.Linear(4, 1))
    plain = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    plain.load_state_dict(inner.state_dict())
    model = DistributedDataParallel(inner)
    assert next(iter(model.state_dict())) == "module.0.weight"
    x = fastnn.randn(5, 3)
    for one in (model, plain):
        one(x).square().mean().backward()
    assert all(fastnn.equal(a.grad, b.grad) for a, b in zip(inner.parameters(), plain.parameters(), strict=True))
    with model.join():
        model(x)
    with pytest.raises(TypeError, match="callable"):
        model.register_comm_hook(None, 1)


def test_order_of_the_sampler():
    # torch.randperm(11, generator=torch.Generator().manual_seed(k)).tolist()
    recorded = {0: [10, 0, 4, 3, 5, 8, 2, 1, 9, 7, 6], 5: [9, 5, 0, 8, 10, 2, 3, 6, 7, 1, 4]}
    sampler = fastnn.utils.data.DistributedSampler
    for seed, order in recorded.items():
        found = [list(sampler(range(11), 2, rank, seed=seed, drop_last=True)) for rank in range(2)]
        assert found == [order[:10:2], order[1:10:2]]


def test_environment():
    mpich = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}
    assert environment.mpi_launch(mpich) == (1, 4, 0, 2)
    assert environment.mpi_launch({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}) == (3, 4, 3, 4)
    assert environment.mpi_launch({"RANK": "0", "WORLD_SIZE": "2"}) is None


def _options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fastnn launch")
    launch.add_arguments(parser)
    end = launch.until_program(arguments)
    return parser.parse_args(arguments[:end], argparse.Namespace(rest=list(arguments[end:])))


@pytest.mark.parametrize(
    ("arguments", "count", "end"),
    [
        (["--nproc", "2", "a.py", "--nproc", "5"], "2", ["run", "a.py", "--nproc", "5"]),
        (["--nproc_per_node=3", "--standalone", "-m", "pkg.mod", "x"], "3", ["run", "-m", "pkg.mod", "x"]),
        (
            ["--nnodes", "1", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv_endpoint=a:1", "a.py"],
            "1",
            ["run", "a.py"],
        ),
    ],
)
def test_options_of_launch(arguments, count, end, monkeypatch):
    monkeypatch.setattr(launch, "_is_open_mpi", lambda mpiexec: False)
    options = _options(*arguments)
    line, variables = launch.command(options, "/bin/mpiexec", int(count))
    assert options.nproc == count
    assert line[:3] == ["/bin/mpiexec", "-n", count]
    assert line[-len(end) :] == end
    assert variables["MASTER_PORT"] == "29500"
    monkeypatch.setattr(launch, "_is_open_mpi", lambda mpiexec: True)
    assert "--bind-to" in launch.command(options, "/bin/mpiexec", 2)[0]


def test_wrong_options_of_launch(tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.py"
    path.write_text("")
    for arguments, message in (
        (["--nproc", "0", str(path)], "--nproc must be a positive number, auto or cpu, found 0"),
        (["--nnodes", "2", str(path)], "on several hosts, use 'mpiexec"),
        (["nonesuch.py"], "nonesuch.py: no such file"),
    ):
        assert launch.run(_options(*arguments)) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert launch.run(_options(str(path))) == 2
    assert capsys.readouterr().err == "fastnn launch: it needs mpi4py and an MPI: pip install 'fastnn[mpi]'\n"
