"""``fastnn launch --nproc 2 -m fastnn.distributed.cost``: what data-parallel training costs, and where it stops paying.

Rank 0 measures the step of a multi-layer perceptron for several batches, and all ranks the mean of gradients of several
sizes. From that, or from the latency and the bandwidth of a network, rank 0 predicts steps with 2 to 4,096 ranks.

A message of ``b`` bytes takes ``latency + b / bandwidth`` seconds. The best known all-reduces of ``b`` bytes between
``n`` ranks take ``log2(n) * (latency + b / bandwidth)`` (recursive doubling) or
``2 * log2(n) * latency + 2 * (n - 1) / n * b / bandwidth`` (Rabenseifner); an MPI library takes the faster one.
Source: R. Thakur, R. Rabenseifner, W. Gropp, Optimization of Collective Communication Operations in MPICH, 2005.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Ranks of the predictions.
RANKS = tuple(2**k for k in range(1, 13))
_BATCHES = (16, 64, 256, 1024)
# Bytes of the rows whose mean is measured.
_SIZES = tuple(2**k for k in range(10, 25, 2))


@dataclass(frozen=True)
class Network:
    """How long messages take.

    Args:
        latency: seconds of a message without contents.
        bandwidth: bytes a second.
    """

    latency: float
    bandwidth: float

    def all_reduce(self, ranks: int, size: float) -> float:
        """The seconds of an all-reduce of ``size`` bytes.

        >>> network = Network(latency=1e-5, bandwidth=1e9)
        >>> network.all_reduce(1, 1e6), network.all_reduce(2, 0)
        (0.0, 1e-05)
        >>> round(network.all_reduce(1024, 1e6), 6)
        0.002198
        """
        if ranks == 1:
            return 0.0
        rounds, sent = math.ceil(math.log2(ranks)), size / self.bandwidth
        doubling = rounds * (self.latency + sent)
        return min(doubling, 2 * rounds * self.latency + 2 * (ranks - 1) / ranks * sent)


# Between hosts, from MPI to MPI; typical figures.
NETWORKS = {
    "1gbe": Network(30e-6, 0.117e9),
    "10gbe": Network(15e-6, 1.17e9),
    "25gbe": Network(10e-6, 2.9e9),
    "hdr100": Network(1.5e-6, 12e9),
}


@dataclass(frozen=True)
class Line:
    """Seconds as ``start + slope * x``.

    >>> line = Line.through([1, 2, 4], [3.0, 5.0, 9.0])
    >>> round(line.start, 6), round(line.slope, 6), round(line(3), 6)
    (1.0, 2.0, 7.0)
    """

    start: float
    slope: float

    def __call__(self, x: float) -> float:
        """The seconds at ``x``."""
        return self.start + self.slope * x

    @classmethod
    def through(cls, xs: Sequence[float], seconds: Sequence[float]) -> Line:
        """The line with the least squares of relative errors; neither number is negative."""
        x, y = np.asarray(xs, np.float64), np.asarray(seconds, np.float64)
        rows = np.stack([np.ones_like(x), x], 1) / y[:, None]
        start, slope = np.linalg.lstsq(rows, np.ones_like(y), rcond=None)[0]
        if start < 0:
            start, slope = 0.0, float(np.mean(y / x))
        return cls(float(start), max(float(slope), 0.0))


@dataclass(frozen=True)
class Prediction:
    """A step with some ranks.

    Args:
        ranks: how many.
        step: seconds, with the same batch for each rank.
        efficiency: rows a second, against so many times those of one rank.
        shared_step: seconds, with a batch that the ranks share.
        speedup: of that, against one rank with the whole batch.
    """

    ranks: int
    step: float
    efficiency: float
    shared_step: float
    speedup: float


def predict(
    compute: Callable[[float], float], size: float, batch: int, all_reduce: Callable[[int, float], float],
    ranks: Sequence[int] = RANKS, shared: int | None = None,
) -> list[Prediction]:  # fmt: skip
    """Steps with some numbers of ranks.

    Args:
        compute: seconds of a step of one rank, by its batch.
        size: bytes of the gradients.
        batch: rows of a rank in a step.
        all_reduce: seconds by ranks and bytes.
        ranks: the numbers of ranks.
        shared: rows of a step of all ranks together, for ``shared_step``; 16 times ``batch`` by default.

    >>> [found] = predict(Line(0.0, 1e-5), 1e6, 100, Network(0.0, 1e9).all_reduce, [2])
    >>> round(found.efficiency, 3), round(found.speedup, 3)
    (0.5, 1.778)
    """
    shared = 16 * batch if shared is None else shared
    found = []
    for count in ranks:
        sent = all_reduce(count, size)
        step, shared_step = compute(batch) + sent, compute(max(shared / count, 1.0)) + sent
        found.append(Prediction(count, step, compute(batch) / step, shared_step, compute(shared) / shared_step))
    return found


def pays_until(predictions: Sequence[Prediction], share: float = 0.5) -> int:
    """The largest number of ranks up to which each one is used for at least this share of its time; 1 for none.

    >>> line, network = Line(0.0, 1e-5), Network(1e-3, 1e9)
    >>> pays_until(predict(line, 1e4, 1000, network.all_reduce))
    512
    """
    last = 1
    for found in predictions:
        if found.efficiency < share:
            break
        last = found.ranks
    return last


def parameters_of(widths: Sequence[int]) -> int:
    """The parameters of a multi-layer perceptron with these widths.

    >>> parameters_of([784, 256, 128, 64, 10])
    242762
    """
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))


def _median_of(step: Callable[[], Any], seconds: float, is_shared: bool) -> float:
    """The median time of a call, in as many calls as take so long; ``is_shared``: all ranks make the same number."""
    for _ in range(5):
        step()
    began = time.perf_counter()
    for _ in range(3):
        step()
    count = np.array([min(max(int(3 * seconds / (time.perf_counter() - began)), 5), 2000)])
    if is_shared:
        _least(count)
    times = []
    for _ in range(int(count[0])):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _least(count: np.ndarray) -> None:
    from fastnn.distributed.collectives import reduced
    from fastnn.distributed.process_group import world

    if world().size() > 1:
        reduced(count, "MIN", world(), "a measurement")


def _network(widths: Sequence[int]) -> Any:
    from fastnn import nn

    layers: list[Any] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def measure_step(widths: Sequence[int], batch: int, is_wrapped: bool) -> float:
    """The median seconds of a captured step with Adam; ``is_wrapped``: of all ranks together."""
    import fastnn

    model = _network(widths)
    if is_wrapped:
        model = fastnn.nn.parallel.DistributedDataParallel(model)
    adam = fastnn.optim.Adam(model.parameters())
    step = fastnn.compile_step(model, fastnn.nn.CrossEntropyLoss(), adam)
    x, y = fastnn.randn(batch, widths[0]), fastnn.randint(0, widths[-1], (batch,))
    return _median_of(lambda: step(x, y), 1.0, is_wrapped)


def measure_mean(size: int) -> float:
    """The median seconds of the mean of all ranks' gradients of ``size`` bytes, as DistributedDataParallel takes it."""
    from fastnn.distributed.collectives import reduced
    from fastnn.distributed.process_group import world
    from fastnn.distributed.shared_memory import shared_rows

    group, row = world(), np.ones(size // 4, np.float32)
    rows, count = shared_rows(group._communicator, row.size, row.dtype), group.size()

    def mean() -> None:
        if rows is not None:
            rows.mean(row, count, "a measurement", group._timeout)
        else:
            reduced(row, "SUM", group, "a measurement")
            np.divide(row, count, out=row)

    return _median_of(mean, 0.3, True)


def _cores() -> int:
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable is not None else os.cpu_count() or 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    import fastnn

    parser = argparse.ArgumentParser(
        prog="fastnn launch --nproc N -m fastnn.distributed.cost", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--model", default="784-256-128-64-10", metavar="WIDTHS", help="(784-256-128-64-10)")
    parser.add_argument("--batch", type=int, default=512, metavar="N", help="rows of a rank in a step (512)")
    parser.add_argument("--shared", type=int, metavar="N", help="rows of all ranks together (16 times --batch)")
    parser.add_argument(
        "--network", metavar="NAME", help=f"{', '.join(NETWORKS)}, or LATENCY,BANDWIDTH in us and GB/s (all of these)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    try:
        widths = [int(width) for width in options.model.split("-")]
        networks = _networks(options.network)
    except ValueError as error:
        parser.error(str(error))
    fastnn.set_num_threads(1)
    dist = fastnn.distributed
    dist.init_process_group()
    ranks, size = dist.get_world_size(), 4 * parameters_of(widths)
    # One rank computes, and the others sleep.
    is_first, alone, compute = dist.get_rank() == 0, 0.0, Line(0.0, 0.0)
    if is_first:
        compute = Line.through(_BATCHES, [measure_step(widths, batch, False) for batch in _BATCHES])
        alone = measure_step(widths, options.batch, False)
    dist.barrier()
    report: dict[str, Any] = {
        "model": options.model, "bytes": size, "batch": options.batch, "ranks": ranks, "cores": _cores(),
        "compute": asdict(compute), "networks": {},
    }  # fmt: skip
    if ranks > 1:
        means = Line.through(_SIZES, [measure_mean(length) for length in _SIZES])
        # On more ranks than cores, those that share a core take turns.
        turns = math.ceil(ranks / _cores())
        report["here"] = {
            "mean": asdict(means), "step": measure_step(widths, options.batch, True), "step of one rank": alone,
            "predicted": turns * alone + means(size),
        }  # fmt: skip
    for name, network in networks.items():
        found = predict(compute, size, options.batch, network.all_reduce, shared=options.shared)
        report["networks"][name] = {"pays until": pays_until(found), "predictions": [asdict(p) for p in found]}
    if is_first:
        print(json.dumps(report, indent=1) if options.json else _in_words(report), flush=True)
    dist.destroy_process_group()


def _networks(text: str | None) -> dict[str, Network]:
    if text is None:
        return NETWORKS
    if text in NETWORKS:
        return {text: NETWORKS[text]}
    parts = text.split(",")
    if len(parts) != 2:
        raise ValueError(f"--network must be one of {', '.join(NETWORKS)}, or LATENCY,BANDWIDTH, found {text}")
    return {text: Network(1e-6 * float(parts[0]), 1e9 * float(parts[1]))}


def _in_words(report: dict[str, Any]) -> str:
    compute = report["compute"]
    lines = [
        f"{report['model']}, gradients of {report['bytes'] / 1e6:.2f} MB; one rank, one thread: "
        f"{1e6 * compute['start']:.0f} us and {1e6 * compute['slope']:.2f} us a row",
    ]
    if "here" in report:
        here, mean = report["here"], report["here"]["mean"]
        lines += [
            f"{report['ranks']} ranks here: a mean takes {1e6 * mean['start']:.0f} us and "
            f"{1e12 * mean['slope']:.0f} us a MB",
            f"a step of {report['batch']} rows a rank: {1e6 * here['step']:.0f} us, predicted "
            f"{1e6 * here['predicted']:.0f}, of one rank alone {1e6 * here['step of one rank']:.0f}",
        ]
    for name, found in report["networks"].items():
        lines += ["", f"{name}: pays until {found['pays until']} ranks"]
        lines += ["ranks  step us  efficiency  shared step us  speedup"]
        lines += [
            f"{p['ranks']:5d}  {1e6 * p['step']:7.0f}  {100 * p['efficiency']:9.0f}%  {1e6 * p['shared_step']:14.0f}  "
            f"{p['speedup']:7.1f}"
            for p in found["predictions"]
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
