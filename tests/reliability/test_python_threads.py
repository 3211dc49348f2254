"""Python threads that train models of their own and infer with a shared one, at once: the bits of one thread."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counts import LEVEL, count
from helpers import cut_in, output_of, start_python

import fastnn
from fastnn import nn
from fastnn.kernels.runtime import pool


def make_model(number: int) -> nn.Sequential:
    """A model of its own for each number, with weights that do not depend on other threads."""
    rng, widths = np.random.default_rng(number), (5, 8 + number % 4, 6, 3)
    layers: list[nn.Module] = []
    for m, n in itertools.pairwise(widths):
        layers += [nn.Linear(m, n), nn.Tanh() if number % 2 else nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    for p in model.parameters():
        p.data.copy_(fastnn.from_numpy(rng.standard_normal(tuple(p.shape)).astype(np.float32)))
    return model


def data(number: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(100 + number)
    return fastnn.from_numpy(rng.standard_normal((32, 5)).astype(np.float32)), fastnn.from_numpy(rng.integers(0, 3, 32))


def weights(model: nn.Module) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in model.parameters())


def plain_loop(number: int) -> bytes:
    """Ten steps, as in PyTorch's tutorial."""
    model, (x, y), criterion = make_model(number), data(number), nn.CrossEntropyLoss()
    optimizer = fastnn.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(10):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    return weights(model)


def compiled_steps(number: int) -> bytes:
    """Ten steps by ``compile_step``."""
    model, (x, y) = make_model(number), data(number)
    step = fastnn.compile_step(model, nn.CrossEntropyLoss(), fastnn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    for _ in range(10):
        step(x, y)
    return weights(model)


def fitted(number: int) -> bytes:
    """Two epochs by ``fit``."""
    model, (x, y) = make_model(number), data(number)
    optimizer = fastnn.optim.AdamW(model.parameters(), lr=0.05)
    fastnn.fit(model, x, y, epochs=2, batch_size=8, shuffle=False, optimizer=optimizer, criterion=nn.CrossEntropyLoss())
    return weights(model)


WAYS: tuple[Callable[[int], bytes], ...] = (plain_loop, compiled_steps, fitted)


def train_at_once(threads: int, rounds: int, beside: Callable[[], object] = lambda: None) -> None:
    """Train in so many threads, each also calling the shared model; raise AssertionError for other bits than alone."""
    shared, (x, _) = make_model(99), data(99)
    expected = {(way, n): way(n) for way in WAYS for n in range(threads)}
    with fastnn.no_grad():
        answer = shared(x).tolist()
    wrong: list[str] = []
    start = threading.Barrier(threads)

    def work(n: int) -> None:
        try:
            start.wait()
            for i in range(rounds):
                way = WAYS[(n + i) % len(WAYS)]
                if way(n) != expected[way, n]:
                    wrong.append(f"{way.__name__} of thread {n}, round {i}")
                with fastnn.no_grad():
                    if shared(x).tolist() != answer:
                        wrong.append(f"inference in thread {n}, round {i}")
                beside()
        except BaseException as error:
            wrong.append(f"thread {n}: {error!r}")

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(600)
    assert not any(worker.is_alive() for worker in workers), "deadlock"
    assert wrong == []


@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("parts", [1, 3])
def test_training_and_inference_at_once(threads: int, parts: int) -> None:
    pool.govern(False)
    try:
        with cut_in(parts):
            train_at_once(threads, count(3, 12, 300))
    finally:
        pool.govern(True)


BESIDE = """
import sys
sys.path[:0] = {paths!r}
from numba import njit, prange
from test_python_threads import train_at_once

@njit(parallel=True)
def double(a):
    for i in prange(a.size):
        a[i] *= 2

import numpy as np, threading
lock = threading.Lock()
def beside():
    a = np.ones(1000)
    # Numba's workqueue aborts a process in which two threads use it at once; fastnn does not use it.
    with lock:
        double(a)
    assert (a == 2).all()

double(np.ones(4))
train_at_once({threads}, {rounds}, beside)
print("right")
"""

if LEVEL != "suite":  # A user's parallel loops are compiled in each process; `kernels/test_threads.py` has short ones.

    @pytest.mark.parametrize("threads", [2, 8])
    @pytest.mark.parametrize("layer", ["tbb", "omp", "workqueue"])
    def test_beside_each_threading_layer(layer: str, threads: int) -> None:
        here = Path(__file__).parent
        code = BESIDE.format(paths=[str(here), str(here.parent)], threads=threads, rounds=count(1, 4, 100))
        variables = _cache_variable()
        if layer == "tbb":
            # Where pip installs it, which is not where the system looks.
            variables["LD_LIBRARY_PATH"] = str(Path(sys.prefix) / "lib")
            if not list(Path(sys.prefix).glob("lib/libtbb*")):
                pytest.skip("the package tbb is not installed")
        process = start_python(code, NUMBA_THREADING_LAYER=layer, **variables)
        assert output_of(process, 900) == "right\n"


def _cache_variable() -> dict[str, str]:
    from fastnn.kernels.runtime import cache

    folder = cache.cache_folder()
    return {} if folder is None else {"FASTNN_CACHE_DIR": str(folder.parent)}


# -- A server ---------------------------------------------------------------------------------


def test_a_server_with_a_thread_for_each_request() -> None:
    """Each answer is that of one thread, and every request is answered, while the server trains another model."""
    import http.client
    import json
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    model = make_model(7).eval()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with fastnn.inference_mode():
                body = json.dumps(model(fastnn.tensor(rows)).tolist()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    rows = np.random.default_rng(0).standard_normal((16, 5)).round(3).tolist()
    expected = [model(fastnn.tensor([row])).tolist() for row in rows]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    wrong: list[object] = []
    over = threading.Event()

    def ask(first: int, requests: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        try:
            for i in range(first, first + requests):
                row = i % len(rows)
                connection.request("POST", "/", json.dumps([rows[row]]))
                found = json.loads(connection.getresponse().read())
                if found != expected[row]:
                    wrong.append((row, found))
        except BaseException as error:
            wrong.append(error)
        finally:
            connection.close()

    def keep_training() -> None:
        alone = plain_loop(3)
        while not over.is_set():
            if plain_loop(3) != alone:
                wrong.append("training")

    trainer = threading.Thread(target=keep_training)
    trainer.start()
    clients = [threading.Thread(target=ask, args=(i, count(25, 250, 2500))) for i in range(8)]
    try:
        for client in clients:
            client.start()
        for client in clients:
            client.join(600)
    finally:
        over.set()
        trainer.join()
        server.shutdown()
        serving.join()
        server.server_close()
    assert wrong == []
