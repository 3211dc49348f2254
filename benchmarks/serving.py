"""Latencies of a Flask server with a thread pool, under load on the loopback address: fastnn's beside PyTorch's.

    python -m benchmarks.serving [--requests 2000] [--clients 8] [--rounds 2]

A model 784-128-64-10 answers requests of one row each. The server (``werkzeug``'s, with a thread for each connection)
runs in one process, the clients in another; rounds of the libraries alternate. It needs the package flask. A library
that is not installed is left out.
"""

from __future__ import annotations

import argparse
import http.client
import importlib
import importlib.util
import itertools
import json
import logging
import subprocess
import sys
import threading
from time import perf_counter
from typing import Any

import numpy as np

LIBRARIES = ("fastnn", "torch")
SIZES = (784, 128, 64, 10)


def serve(library: str) -> None:
    """Serve on a free port, which is printed, until the standard input ends."""
    flask = importlib.import_module("flask")
    serving = importlib.import_module("werkzeug.serving")
    lib = importlib.import_module(library)
    logging.getLogger("werkzeug").disabled = True
    nn = lib.nn
    layers: list[Any] = []
    for m, n in itertools.pairwise(SIZES):
        layers += [nn.Linear(m, n), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).eval()
    app = flask.Flask(__name__)

    @app.post("/")
    def answer() -> Any:
        x = lib.from_numpy(np.frombuffer(flask.request.get_data(), np.float32).reshape(-1, SIZES[0]).copy())
        with lib.inference_mode():
            return json.dumps(model(x).tolist())

    server = serving.make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


def ask(port: int, requests: int, clients: int) -> np.ndarray:
    """The latencies of all requests, in seconds."""
    times: list[float] = []
    row = np.random.default_rng(0).standard_normal((1, SIZES[0])).astype(np.float32).tobytes()

    def work(count: int) -> None:
        for _ in range(count):
            start = perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", "/", row)
            response = connection.getresponse()
            if response.status != 200 or len(json.loads(response.read())[0]) != SIZES[-1]:
                raise RuntimeError(f"status {response.status}")
            connection.close()
            times.append(perf_counter() - start)

    threads = [threading.Thread(target=work, args=(requests // clients,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(times) != requests // clients * clients:
        raise RuntimeError(f"{len(times)} of {requests} requests were answered")
    return np.array(times)


def main(argv: list[str] | None = None) -> int:
    """Print the latencies of each library."""
    parser = argparse.ArgumentParser(description="latencies of a Flask server under load")
    parser.add_argument("--serve", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(argv)
    if options.serve:
        serve(options.serve)
        return 0
    found: dict[str, list[np.ndarray]] = {name: [] for name in LIBRARIES if importlib.util.find_spec(name)}
    for _ in range(options.rounds):
        for name, times in found.items():
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.serving", "--serve", name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            port = int(process.stdout.readline())
            ask(port, 8 * options.clients, options.clients)
            times.append(ask(port, options.requests, options.clients))
            process.stdin.close()
            process.wait()
    print(f"{options.requests} requests, {options.clients} clients, best of {options.rounds} rounds, ms")
    for name, rounds in found.items():
        best = min(rounds, key=lambda times: float(np.median(times)))
        middle, high, highest = 1e3 * np.percentile(best, [50, 95, 99])
        print(f"{name:8} median {middle:.2f}, 95% {high:.2f}, 99% {highest:.2f}, longest {1e3 * best.max():.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
