"""Start the worker and the service, and the worker again whenever it dies. `python examples/service/run.py`.

A stand-in for what watches over processes in production. `compare.py` uses it, too.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.contextmanager
def started(script: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of this example, once it listens, and where; ended with the block."""
    command = [sys.executable, str(HERE / script), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if " listens at " not in said:
                raise RuntimeError(f"{script} did not start; exit code {process.wait(10)}")
            yield process, said.split()[-1]
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", default="8000", help="of the service (default: 8000)")
    parser.add_argument("--config", default="perfkit.toml", help="settings, and the thresholds beside them")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leaves the `with`: both processes end, too
    with contextlib.ExitStack() as stack:
        worker, address = stack.enter_context(started("worker.py", "--config", options.config))
        _, url = stack.enter_context(started("app.py", "--config", options.config, "--port", options.port))
        print(f"service at {url}, worker {worker.pid} at {address}", flush=True)
        while True:
            time.sleep(0.1)
            if worker.poll() is not None:
                worker, _ = stack.enter_context(started("worker.py", "--config", options.config))
                print(f"the worker died; worker {worker.pid} is its successor", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
