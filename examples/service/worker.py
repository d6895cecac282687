"""The worker: holds the model, and answers features with predictions. `python examples/service/worker.py`.

It runs in a process of its own so that it can be restarted, upgraded or killed by the kernel without the service.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # requests run side by side: one core each, before NumPy is loaded

import numpy as np
from catalogue import FEATURES
from numpy.typing import NDArray

import perfkit

ADDRESS = "unix:/tmp/perfkit-example-worker.sock"
_HIDDEN = 16
_CHUNK_ROWS = 8_192

_random = np.random.default_rng(4)
_FIRST = _random.standard_normal((FEATURES, _HIDDEN), dtype=np.float32) / 8
_SECOND = _random.standard_normal(_HIDDEN, dtype=np.float32) / 4


def predict(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely each item is chosen, by a network with one hidden layer.

    Args:
        features: a row per item.
    """
    hidden = np.maximum(features @ _FIRST, 0)
    return np.float32(1) / (np.float32(1) + np.exp(-(hidden @ _SECOND)))


def handle(features: NDArray[np.float32] | None, request: perfkit.Request) -> NDArray[np.float32] | None:
    """Answer one request; called in several threads at a time.

    Args:
        features: a read-only view, often of the sender's own memory: nothing was copied. None is the service asking
            whether somebody is here.
        request: says whether anybody waits for the answer.
    """
    if features is None:
        return None
    predictions = np.empty(len(features), np.float32)
    for start in range(0, len(features), _CHUNK_ROWS):
        if request.is_cancelled:  # taken back, or the time is up: the rest would be for nobody
            return None
        chunk = slice(start, start + _CHUNK_ROWS)
        predictions[chunk] = predict(features[chunk])
    return predictions


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default=ADDRESS, help=f"where to listen (default: {ADDRESS})")
    parser.add_argument("--config", default="perfkit.toml", help="settings, and the thresholds beside them")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leaves the `with` below: requests under way are answered
    with (
        perfkit.Engine.load(arguments.config) as engine,
        perfkit.serve(handle, arguments.address, engine=engine) as server,
    ):
        print(f"worker {os.getpid()} listens at {server.address}", flush=True)
        server.wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
