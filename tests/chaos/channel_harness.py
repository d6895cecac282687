"""Kill clients and servers of a channel at random moments; then count: `channel_harness.py --runs 1000 [--json]`.

Every run has a server, two clients and a *survivor*, a client that lives on over all runs. They send payloads by every
method, in place too, while some of them are killed with SIGKILL: while they connect, in the middle of a large body,
while a handler runs, while views are held. A server that was killed is started again at its address in most runs. Then:

* every send ended in a right answer or in an error, within a second of the kill (*hung* counts the others);
* no payload was wrong, on either side;
* the survivor's blocks came back, and the server maps and lends nothing any more for those who died;
* descriptors, maps and threads of the survivors do not grow, and no process, name in /dev/shm or file is left behind.

This process forks all others from itself, which takes milliseconds; so it loads neither gRPC nor starts a thread.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from channel_forks import ANSWER_S, Party, beat
from channel_parties import run_sender, run_server, warm_up

KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "client": ("mixed", ("client",)),
    "client that connects": ("connect", ("client",)),
    "client, large body": ("large", ("client",)),
    "client, handler runs": ("slow handler", ("client",)),
    "client that holds views": ("holds views", ("client", "client")),
    "server": ("mixed", ("server",)),
    "server, clients connect": ("connect", ("server",)),
    "server, large body": ("large", ("server",)),
    "server, handler runs": ("slow handler", ("server",)),
    "server, views are held": ("holds views", ("server",)),
    "both": ("mixed", ("client", "server")),
    "both, views are held": ("holds views", ("server", "client")),
}
"""What is killed: the sort of clients in that run, and the victims in the order of their deaths."""
LANE_METHODS = ["uds", "shm_pool", "shm"]
GRPC_EVERY = 20
GRPC_METHODS = ["grpc", "grpc_stream", "uds", "shm_pool"]
CLOSES_EVERY = 5
LONGEST_S = 0.2
HUNG_S = 1.0
MUST_BE_ZERO = ("hung", "leaked", "wrong")


@dataclasses.dataclass
class Figures:
    """What is counted."""

    runs: int = 0
    kills: int = 0
    hung: int = 0
    leaked: int = 0
    wrong: int = 0
    retried: int = 0
    sends: int = 0
    answers: int = 0
    errors: dict[str, int] = dataclasses.field(default_factory=dict)
    slowest_ms: int = 0
    seconds: float = 0.0
    failures: list[str] = dataclasses.field(default_factory=list)

    def leak(self, what: str) -> None:
        """Something was left."""
        self.leaked += 1
        self.failures.append(f"run {self.runs}: left behind: {what}")


# --- runs ------------------------------------------------------------------------------------------------------------


class Judge:
    """Starts parties, kills them, hears the others and counts."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.chance = place, random.Random(seed)
        self.figures = Figures()
        warm_up()
        (place / "s").mkdir()
        self._address = f"unix:{place}/s/channel.sock"  # short: a socket's path may have 98 bytes
        self._heart = Party(place, lambda _: beat(place))
        self._survivor = self._start_sender("mixed")
        self._server: Party | None = None
        self._has_grpc = False
        self._downs: list[tuple[float, float]] = []
        self._calm: dict[int, dict[str, int]] = {}

    def run(self, kind: str, *, has_grpc: bool) -> None:
        """One run."""
        figures, chance = self.figures, self.chance
        figures.runs += 1
        sort, victims = KINDS[kind]
        methods = GRPC_METHODS if has_grpc else LANE_METHODS
        is_restarted = "server" in victims and chance.random() < 0.75
        timeout_s = 0.6 if "server" in victims and not is_restarted else 10.0
        server = self._serve(has_grpc)
        clients = [self._start_sender(sort) for _ in range(2)]
        senders = [*clients, self._survivor]
        self._downs.clear()
        for sender in senders:
            sender.ask("go", timeout_s, methods)
        if chance.random() < 0.6:  # else the kill may come before the first answer
            clients[0].ask("first answer", 5)
        doomed = iter(clients)
        for victim in victims:
            time.sleep(chance.random() * LONGEST_S / len(victims))
            (server if victim == "server" else next(doomed)).kill()
            figures.kills += 1
            if victim == "server":
                self._end_server(is_restarted, has_grpc)
        time.sleep(0.02 + chance.random() * 0.06)
        self._conclude([client for client in clients if not client.is_dead], timeout_s)
        for client in clients:
            client.kill()

    def _end_server(self, is_restarted: bool, has_grpc: bool) -> None:
        """It was just killed: its successor comes soon, or in another run."""
        died_s, self._server = time.monotonic(), None
        if is_restarted:
            time.sleep(self.chance.random() * 0.1)
            self._serve(has_grpc)
            self._downs.append((died_s, time.monotonic()))
        else:
            self._downs.append((died_s, float("inf")))

    def _conclude(self, clients: list[Party], timeout_s: float) -> None:
        """Let those who live rest, and look at what is left."""
        is_closing, report = self.figures.runs % CLOSES_EVERY == 0, None
        asked = [*((client, True) for client in clients), (self._survivor, is_closing)]
        for sender, _ in asked:
            sender.send("stop")
        stopped = [sender.answer() for sender, _ in asked]
        if self._server is not None:
            self._server.ask("statistics")  # its handler lets go of what it holds
        for sender, closes in asked:
            sender.send("rest", closes)
        for (sender, _), has_stopped in zip(asked, stopped, strict=True):
            report = sender.answer() if has_stopped else None
            if report is None:
                self._hangs("a client", sender)
            else:
                self._count(report, timeout_s)
        if report is None:
            self._survivor = self._start_sender("mixed")
        elif is_closing:
            self._compare("survivor", self._survivor.pid, report)
        for client in clients:
            client.close()
        if self._server is not None:
            self._look_at_server(0 if is_closing or report is None else report["reserved_bytes"], is_closing)

    def _count(self, report: dict[str, Any], timeout_s: float) -> None:
        figures = self.figures
        for name in ("sends", "answers", "wrong", "retried"):
            setattr(figures, name, getattr(figures, name) + report[name])
        for name, count in report["errors"].items():
            figures.errors[name] = figures.errors.get(name, 0) + count
        figures.failures += [f"run {figures.runs}: {text}" for text in report["failures"]]
        if report["leased"]:
            figures.leak(f"{report['leased']} blocks of a client are leased though nobody holds them")
        for begun_s, ended_s, what in report["slow"]:
            down_s = sum(max(0.0, min(ended_s, end) - max(begun_s, begin)) for begin, end in self._downs)
            late_s = ended_s - begun_s - min(down_s, timeout_s) - self._stalled_s(begun_s, ended_s)
            figures.slowest_ms = max(figures.slowest_ms, round(1000 * late_s))
            if late_s > HUNG_S:
                figures.hung += 1
                figures.failures.append(f"run {figures.runs}: a {what} took {late_s:.2f} s longer than it may")

    def _look_at_server(self, survivor_bytes: int, is_closing: bool) -> None:
        """What the server still has of clients that are gone; what ends a moment later may."""
        server, most_peers = self._server, 0 if is_closing else len(GRPC_METHODS)
        assert server is not None  # the caller looked
        deadline_s = time.monotonic() + ANSWER_S / 4
        while True:
            told = server.ask("statistics")
            if told is None:
                self._hangs("the server", server)
                self._server = None
                return
            is_calm = told["peers"] <= most_peers and told["mapped_bytes"] <= survivor_bytes
            is_calm &= told["lent_bytes"] == told["leased_blocks"] == 0
            if is_calm and is_closing:
                is_calm = not self._growth(server.pid, told)
            if is_calm or time.monotonic() > deadline_s:
                break
            time.sleep(0.02)
        self.figures.wrong += told["wrong"]
        if not is_calm:
            self.figures.leak(f"at the server, survivor has {survivor_bytes} bytes: {told}")
        if told["refused"]:
            self.figures.failures.append(f"run {self.figures.runs}: the server refused: {told['last_refusal']}")
        if is_closing:
            self._compare("server", server.pid, told)

    def _compare(self, who: str, pid: int, now: dict[str, int]) -> None:
        """Descriptors, maps and threads of a process that nobody is connected to: as they were the first times."""
        growth = self._growth(pid, now)
        if growth:
            self.figures.leak(f"the {who} has {growth} more than before")
        before = self._calm.setdefault(pid, {"times": 0})
        before["times"] += 1

    def _growth(self, pid: int, now: dict[str, int]) -> dict[str, int]:
        before = self._calm.setdefault(pid, {"times": 0})
        if before["times"] < 2 or self._has_grpc:  # gRPC, once used, keeps some of its own
            for name in ("fds", "maps", "threads"):
                before[name] = max(before.get(name, 0), now[name])
        return {name: now[name] - before[name] for name in ("fds", "maps", "threads") if now[name] > before[name]}

    # --- parties -----------------------------------------------------------------------------------------------------

    def _serve(self, has_grpc: bool) -> Party:
        if self._server is not None and self._has_grpc != has_grpc:
            self._close_server()
        if self._server is None:
            methods = [*GRPC_METHODS, "shm"] if has_grpc else LANE_METHODS
            address, self._has_grpc = self._address, has_grpc
            self._server = Party(self.place, lambda wire: run_server(wire, address, methods))
            if self._server.answer() != "listening":
                raise RuntimeError(f"a server did not start: {self._read_failures()}")
        return self._server

    def _close_server(self) -> None:
        if self._server is not None:
            if self._server.ask("close") is None:
                self._hangs("the server that was to close", self._server)
            self._server.kill()
            self._server = None

    def _start_sender(self, sort: str) -> Party:
        seed, address = self.chance.getrandbits(32), self._address
        return Party(self.place, lambda wire: run_sender(wire, address, sort, LANE_METHODS, seed))

    def conclude(self) -> Figures:
        """End everything: a last server, started where others were killed, takes what they left with it."""
        self._close_server()
        self._serve(True)
        self._close_server()
        for party in (self._survivor, self._heart):
            party.kill()
        for left in (self.place / "s").iterdir():
            self.figures.leak(f"{left.name} in the folder of the socket")
        with contextlib.suppress(ChildProcessError):
            self.figures.leak(f"a process: {os.waitpid(-1, os.WNOHANG)}")
        self.figures.failures += [text for text in (self._read_failures(),) if text]
        return self.figures

    def _stalled_s(self, begun_s: float, ended_s: float) -> float:
        lines = (line.split() for line in (self.place / "stalls").read_text().splitlines())
        return sum(float(line[1]) for line in lines if len(line) == 2 and begun_s - 0.1 < float(line[0]) < ended_s)

    def _hangs(self, who: str, party: Party) -> None:
        """A party did not answer its judge: note where it is, and end it."""
        file = self.place / f"failures.{party.pid}.stacks"
        stacks = file.read_text() if file.exists() else ""
        self.figures.hung += 1
        self.figures.failures.append(f"run {self.figures.runs}: {who} hangs\n{stacks}")
        party.kill()

    def _read_failures(self) -> str:
        file = self.place / "failures"
        return file.read_text() if file.exists() else ""


def run(runs: int, seed: int) -> dict[str, Any]:
    """All runs, and the count."""
    begun_s, names_before = time.monotonic(), set(Path("/dev/shm").iterdir())
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        judge = Judge(Path(folder), seed)
        kinds = list(KINDS)
        by_kind: Counter[str] = Counter()
        for number in range(runs):
            kind, kills = kinds[number % len(kinds)], judge.figures.kills
            judge.run(kind, has_grpc=number % GRPC_EVERY >= GRPC_EVERY - 1)
            by_kind[kind] += judge.figures.kills - kills
        figures = judge.conclude()
    for name in set(Path("/dev/shm").glob("perfkit*")) - names_before:
        figures.leak(str(name))
    figures.seconds = round(time.monotonic() - begun_s, 1)
    return {**dataclasses.asdict(figures), "seed": seed, "by_kind": dict(by_kind)}


def to_text(figures: dict[str, Any]) -> str:
    """The table that people read."""
    lines = [f"{'killed':32} {'kills':>7}"]
    lines += [f"{kind:32} {kills:>7}" for kind, kills in figures["by_kind"].items()]
    lines += ["", *(f"{name:32} {value:>7,}" for name, value in figures.items() if isinstance(value, int | float))]
    lines += [f"{name:32} {count:>7,}" for name, count in figures["errors"].items()]
    return "\n".join([*lines, *figures["failures"][:30]])


def main() -> None:
    """Run, print, and exit with 1 when something is wrong."""
    parser = argparse.ArgumentParser(description="Kill clients and servers of a channel; then count.")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("CHANNEL_CHAOS_RUNS", "25")))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    figures = run(arguments.runs, arguments.seed)
    is_right = not figures["failures"] and not any(figures[name] for name in MUST_BE_ZERO)
    print(json.dumps({**figures, "ok": is_right}) if arguments.json else to_text(figures))
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
