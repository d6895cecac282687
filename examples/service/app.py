"""The service: ranks the catalogue for a user, over HTTP. `python examples/service/app.py`, once the worker runs.

    POST /infer?user=7&rows=1000   the ten best of a thousand items
    GET  /health                   whether the worker answers, and which thresholds are in force; 503 if it does not
    GET  /statistics               which methods carried how many requests

An ASGI application without a framework; in one of your own, `Ranking` and its three methods are what you need.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import uvicorn
from catalogue import FEATURES, MAX_ROWS, candidates_of, make_features
from worker import ADDRESS

import perfkit

BEST = 10
STATUS = {
    perfkit.InputError: 400,  # the caller's mistake
    perfkit.HandlerError: 500,  # the model's
    perfkit.MethodUnavailableError: 503,  # no worker
    perfkit.PeerLostError: 503,  # it died on the way
    perfkit.NoRoomError: 503,  # no memory to spare
    perfkit.TransferTimeoutError: 504,
}


class Ranking:
    """What the service does, without HTTP. Its methods wait: call them in a thread.

    Args:
        config: `perfkit.toml`; `thresholds.toml` is beside it.
        address: of the worker.
        methods: take only these to the worker; None for whatever the engine decides.
        journal: where transfers are recorded; None for `data/journal` beside the config.
        timeout_s: how long a request may wait for the worker, dead or alive.
        threads: requests under way at once.
    """

    def __init__(
        self,
        config: str,
        address: str,
        *,
        methods: list[str] | None = None,
        journal: str | None = None,
        timeout_s: float = 0.8,
        threads: int = 32,
    ) -> None:
        self.features = make_features()
        self.engine = perfkit.Engine.load(config)  # what is published while the service runs is taken over
        self.channel = perfkit.connect(
            address, engine=self.engine, methods=methods, record=journal or True, timeout_s=timeout_s
        )
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="infer")

    def infer(self, user: int, rows: int) -> dict[str, Any]:
        """The best of `rows` candidates for a user, as ``[item, score]``."""
        if user < 0 or not BEST <= rows <= MAX_ROWS:
            raise perfkit.InputError(f"user == {user}, must be 0 or more; rows == {rows}, must be {BEST} to {MAX_ROWS}")
        items = candidates_of(user, rows)
        features = self.channel.empty((rows, FEATURES), "float32")  # gathered where the worker reads them
        np.take(self.features, items, axis=0, out=features, mode="clip")  # "raise" would go through a buffer
        scores = self.channel.send(features, session=f"user-{user}")
        best = np.argpartition(scores, -BEST)[-BEST:]
        best = best[np.argsort(-scores[best])]
        ranked = [[int(items[index]), round(float(scores[index]), 6)] for index in best]
        return {"user": user, "rows": rows, "mean": float(scores.mean(dtype=np.float64)), "best": ranked}

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and facts. Asks the worker, which also finds one that was started anew."""
        try:
            self.channel.send(None, timeout_s=0.5)
            status = 200
        except perfkit.TransferError:
            status = 503
        return status, {"channel": self.channel.health().to_plain(), "engine": self.engine.health().to_plain()}

    def statistics(self) -> dict[str, Any]:
        """Counts since the start."""
        return {"channel": self.channel.statistics().to_plain(), "engine": self.engine.statistics().to_plain()}

    def close(self) -> None:
        """Let the requests under way end, commit what was recorded, give the shared memory back."""
        self.threads.shutdown()
        self.channel.close()
        self.engine.close()


class Application:
    """The same over ASGI: the worker is connected to when the server starts, which with several is after the fork.

    Args:
        make_ranking: connects.
    """

    def __init__(self, make_ranking: Callable[[], Ranking]) -> None:
        self._make_ranking = make_ranking
        self.ranking: Ranking

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        try:
            status, answer = await self._answer(f"{scope['method']} {scope['path']}", parse_qs(scope["query_string"]))
        except perfkit.PerfkitError as error:
            status, answer = STATUS.get(type(error), 500), {"error": type(error).__name__, "message": str(error)}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def _live(self, receive: Callable[..., Awaitable[Any]], send: Callable[..., Awaitable[None]]) -> None:
        await receive()
        try:
            self.ranking = await asyncio.to_thread(self._make_ranking)
        except perfkit.PerfkitError as error:  # no worker: end, and be started again by whatever watches over us
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self.ranking.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, route: str, query: dict[bytes, list[bytes]]) -> tuple[int, Any]:
        if route == "POST /infer":
            try:
                user, rows = (int(query[name][0]) for name in (b"user", b"rows"))
            except (KeyError, ValueError):
                raise perfkit.InputError("give user and rows as whole numbers: /infer?user=7&rows=1000") from None
            loop = asyncio.get_running_loop()
            return 200, await loop.run_in_executor(self.ranking.threads, self.ranking.infer, user, rows)
        if route == "GET /health":  # in a thread of its own: it must answer while all others wait
            return await asyncio.to_thread(self.ranking.health)
        if route == "GET /statistics":
            return 200, self.ranking.statistics()
        return 404, {"error": "NotFound", "message": "POST /infer, GET /health, GET /statistics"}


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; 0 takes a free one (default: 8000)")
    parser.add_argument("--address", default=ADDRESS, help=f"of the worker (default: {ADDRESS})")
    parser.add_argument("--config", default="perfkit.toml", help="settings, and the thresholds beside them")
    parser.add_argument("--journal", help="where to record (default: data/journal beside the settings)")
    parser.add_argument("--methods", nargs="+", help="take only these to the worker (default: what is decided)")
    parser.add_argument("--timeout-s", type=float, default=0.8, help="to wait for the worker (default: 0.8)")
    options = parser.parse_args()
    ranking = {"methods": options.methods, "journal": options.journal, "timeout_s": options.timeout_s}
    app = Application(lambda: Ranking(options.config, options.address, **ranking))
    # Named as TCP: asyncio spares only such sockets the wait for more to send, which is 40 ms a request.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    listener.listen(1024)
    print(f"service listens at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
