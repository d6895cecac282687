"""The load: many users at once, and every answer checked. `python examples/service/load.py http://127.0.0.1:8000`.

Closed loop: each connection sends its next request when it has the answer to the last. Sizes are drawn evenly over
their logarithm, from 4 KiB to 16 MiB of features; the list of requests depends on the seed alone.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import math
import random
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from catalogue import MAX_ROWS, ROW_BYTES, candidates_of, make_features
from worker import predict

Request = tuple[int, int]
"""User and rows."""


def draw_requests(count: int, min_rows: int, max_rows: int, seed: int) -> list[Request]:
    """A list of requests."""
    generator = random.Random(seed)
    low, high = math.log(min_rows), math.log(max_rows)
    return [(generator.randrange(10**6), round(math.exp(generator.uniform(low, high)))) for _ in range(count)]


def count_wrong(answers: list[tuple[Request, bytes]]) -> int:
    """How many answers are not what the model says here, but for the rounding of 32-bit floats."""
    predictions = predict(make_features()).astype(np.float64)

    def is_right(request: Request, answer: dict[str, Any]) -> bool:
        of_candidates = predictions[candidates_of(*request)]
        items, scores = zip(*answer["best"], strict=True)
        return (
            set(items) <= set(candidates_of(*request).tolist())
            and np.allclose(scores, np.sort(of_candidates)[: -1 - len(scores) : -1], atol=1e-5)
            and np.allclose(scores, predictions[list(items)], atol=1e-5)
            and math.isclose(answer["mean"], of_candidates.mean(), abs_tol=1e-5)
        )

    return sum(not is_right(request, json.loads(body)) for request, body in answers)


class Sent:
    """What became of the requests of a run."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.answers: list[tuple[Request, bytes]] = []
        self.errors: dict[str, int] = {}

    def failed(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1


def send_all(url: str, requests: list[Request], connections: int) -> tuple[Sent, float]:
    """Send every request once, over so many connections; what came of it, and the seconds it took."""
    sent, turns = Sent(), itertools.count()
    place = urlsplit(url)

    def run() -> None:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        while (turn := next(turns)) < len(requests):
            user, rows = requests[turn]
            started = time.perf_counter()
            try:
                connection.request("POST", f"/infer?user={user}&rows={rows}")
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                sent.failed(type(error).__name__)
                connection.close()
                continue
            sent.latencies_s.append(time.perf_counter() - started)
            if response.status != 200:
                sent.failed(str(response.status))
            else:
                sent.answers.append((requests[turn], body))  # checked when the clock has stopped
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sent, time.perf_counter() - started


def summarise(sent: Sent, took_s: float, requests: list[Request]) -> dict[str, Any]:
    """The figures of a run."""
    p50_s, p99_s = np.quantile(sent.latencies_s, (0.5, 0.99)) if sent.latencies_s else (math.nan, math.nan)
    return {
        "requests": len(requests),
        "payload_bytes": sum(rows for _, rows in requests) * ROW_BYTES,
        "errors": sent.errors,
        "wrong": count_wrong(sent.answers),
        "throughput_per_s": round((len(requests) - sum(sent.errors.values())) / took_s, 2),
        "p50_ms": round(p50_s * 1e3, 3),
        "p99_ms": round(p99_s * 1e3, 3),
    }


def main() -> None:
    """Warm up, send, print one JSON object; exit code 1 if an answer was wrong or missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the service")
    parser.add_argument("--requests", type=int, default=400, help="how many (default: 400)")
    parser.add_argument("--connections", type=int, default=8, help="at once (default: 8)")
    parser.add_argument("--warm-up", type=int, default=50, help="requests before the clock runs (default: 50)")
    parser.add_argument("--min-rows", type=int, default=16, help="items of the smallest request (default: 16, 4 KiB)")
    parser.add_argument("--max-rows", type=int, default=MAX_ROWS, help=f"of the largest (default: {MAX_ROWS}, 16 MiB)")
    parser.add_argument("--seed", type=int, default=1, help="of the list of requests (default: 1)")
    options = parser.parse_args()
    warm_up = draw_requests(options.warm_up, options.min_rows, options.max_rows, options.seed + 1_000_000)
    send_all(options.url, warm_up, options.connections)
    requests = draw_requests(options.requests, options.min_rows, options.max_rows, options.seed)
    figures = summarise(*send_all(options.url, requests, options.connections), requests)
    print(json.dumps(figures))
    sys.exit(1 if figures["errors"] or figures["wrong"] else 0)


if __name__ == "__main__":
    main()
