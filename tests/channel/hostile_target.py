"""A server that tests of hostile peers attack: `hostile_target.py ADDRESS OPTIONS`, the options as JSON.

Each line on its standard input is answered with its statistics, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import perfkit
from perfkit.channel import server as server_module


def handler(payload: Any) -> Any:
    """The payload itself; for some texts something else."""
    if isinstance(payload, str) and payload == "large":
        return bytes(64 * 2**20)
    if isinstance(payload, str) and payload == "sleepy":
        time.sleep(0.3)
    return payload


def main() -> None:
    """Serve until standard input ends."""
    address, options = sys.argv[1], json.loads(sys.argv[2])
    server_module._STALLED_S = options.pop("stalled_s", server_module._STALLED_S)
    server_module._MAX_PEERS = options.pop("max_peers", server_module._MAX_PEERS)
    with perfkit.serve(handler, address, **options) as server:
        for _ in sys.stdin:
            facts = server.statistics().to_plain()
            facts["descriptors"] = len(list(Path("/proc/self/fd").iterdir()))
            sys.stdout.write(json.dumps({"pid": os.getpid(), **facts}) + "\n")
            sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
