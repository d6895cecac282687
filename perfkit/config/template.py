"""The commented `perfkit.toml` that `perfkit init` writes. It says what holds without it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from perfkit.errors import FileError, InputError

__all__ = ["PERFKIT_TOML", "write_template"]

PERFKIT_TOML = """\
# perfkit.toml: what you want from perfkit. You write this file; perfkit only reads it.
# `perfkit check` reads it the way a service does, and names line and column of a mistake.

[engine]
mode = "decide"             # "decide": choose by rules and published thresholds
                            # "observe": do the default, and let explain() say what "decide" would do
exploration_rate = 0.0      # share of decisions that try another method, to learn; 0 is the safe default
# exploration_budget = "5ms"  # latency that trying others may be expected to cost in each second
# exploration_max_cost = 1.5  # never try what is expected to take more than this many times as long
# confidence = "50%"        # how sure the curves must be that their choice is no worse than without them
# policies = ["my_service.policies"]  # Python modules with @perfkit.policy functions
# priority = ["override", "rule", "policy", "model", "threshold", "default"]  # who is asked first for a method

# When the host runs short, decisions spare what is scarce.
# [resources]
# react = true
# cpu = "80%"               # use from which it is short
# memory = "80%"
# arena = "80%"
# interval = "250ms"        # between two looks

# A method that fails again and again is left alone for a while.
# [breaker]
# failures = 5              # in a row
# open = "60s"

# What transfers really take corrects what the curves say, within bounds.
# [calibration]
# correct = true
# max_factor = 2.0          # at most twice or half as much
# min_outcomes = 200        # transfers before they count
# max_error = 4.0           # beyond, the curves are not trusted

# What a service records goes to the journal, for `perfkit drain`.
# [recorder]
# enabled = true
# journal = "data/journal"
# buffer_rows = 10000       # that may wait in each thread; beyond, the oldest are dropped and counted
# flush_interval = "200ms"
# decision_share = "1%"     # of the decisions, the reasons are kept, too

# A pool is a group of workers with the same needs: engine.decide(payload_bytes, pool="default").
# A further pool, such as [pools.ml], takes everything that it does not say from here.
[pools.default]
goal = "balanced"           # what "cheapest" means:
                            # "latency"     time of one transfer
                            # "throughput"  the slowest of encoding, transport and decoding
                            # "memory"      memory held during a transfer, and bytes copied
                            # "balanced"    the sum of all, by weights
tolerance = "5%"            # where the evidence cannot tell two methods apart, the simpler one is taken,
                            # if that is expected to cost at most this much
# margin = "10%"            # the simpler one is taken, too, where the other is not better by this much
# weights = { latency = 0.7, cpu = 0.3 }  # of "balanced"; also memory, copied and setup

# Which methods may be chosen; without this line, all of them.
# methods = ["uds", "grpc", "grpc_stream", "shm_pool", "shm"]

# From simple to complicated, for the choice between methods that cannot be told apart.
# simplicity_order = ["uds", "grpc", "grpc_stream", "shm_pool", "shm"]

# A pool with wishes of its own, here every pool whose name begins with "ml-".
# [pools."ml-*"]
# override = "uds"          # take this whatever the size; for a bad day
# policy = "night shift"    # ask this @perfkit.policy function
# zero_copy_from = "10MiB"  # where nothing is published: shared memory from here
# thresholds = [{ up_to = "1MiB", use = "uds" }, { use = "shm_pool" }]  # the same, in your own words
#
# [[pools."ml-*".rules]]    # the first rule that holds is followed
# when = "kind in ['tensor', 'dataframe'] and bytes >= 64MiB"
# use = ["shm_pool", "shm"]  # the first that is there
#
# [[pools."ml-*".rules]]    # without `when` a rule always holds
# avoid = "grpc"            # nothing that comes after rules may take it

# An experiment: some sessions get other settings, and always the same ones.
# [experiments.larger]
# enabled = true            # false is the kill switch
# pools = ["default"]       # without this line, all of them
# salt = "first try"        # another text assigns sessions anew
#
# [experiments.larger.variants.A]  # the first one is the control
# share = "50%"
#
# [experiments.larger.variants.B]
# share = "10%"             # sessions that are left take no part
# zero_copy_from = "1MiB"   # and any other key of a pool

# What is promised; `perfkit slos` says whether it is kept, `perfkit gate` blocks a release that breaks it.
# [slos.checkout]
# pool = "default"          # the traffic of a pool; or scenario = "transport uds *", what a run measures
# quantile = "p99"          # of the latency
# latency = "5ms"           # at most
# error_rate = "0.1%"       # of the transfers, at most
# throughput = "200MB"      # per second of transfer time, at least
# memory = "64MiB"          # that one transfer holds, at most
# window = "30 days"        # over which traffic is judged

# What `perfkit publish` asks of evidence. What it refuses, it says; `perfkit publish --force` overrides it.
[publish]
min_launches = 3            # fewest launches that a range may rest on
min_observations = 30       # fewest observations that a range may rest on
max_uncertainty = "10%"     # cost that not knowing better may be expected to lose
max_loss = "5%"             # cost that a candidate may surely lose against what is in force
max_step = 4.0              # factor by which an edge between two methods may surely move

# How long `perfkit maintain` keeps what was observed, in whole days. Pinned runs, the runs behind the thresholds in
# force, and what reports were made from are kept longer.
[lake]
keep_rows = "7 days"        # transfers and decisions
keep_rollups = "400 days"   # their histograms per minute, and events

# A pipeline of your own: notebooks that run together, as `perfkit run nightly` or on a schedule.
# [pipelines.nightly]
# notebooks = ["10_benchmark", "20_analysis", "30_tune"]
# schedule = "0 3 * * *"    # minute hour day month weekday, in this host's time; `perfkit schedule nightly --install`
# timeout = "1h"            # that each notebook may take
# memory_limit = "8GiB"     # that each notebook may take, with its processes
# retries = 1               # how often a notebook that failed is run once more
# keep = "90 days"          # how long its reports are kept; keep_runs = 30 keeps the newest
#
# [pipelines.nightly.parameters]
# preset = "quick"          # any parameter that one of the notebooks declares
#
# [pipelines.nightly.grid]
# goal = ["latency", "memory"]  # a notebook that declares it runs once for each
#
# [pipelines.nightly.notify]
# on = ["failure", "recovery", "verdict"]  # also "success"; `perfkit schedule nightly --test-notify` tries it
# webhook = "https://example.com/hook"
# email = { to = ["team@example.com"], sender = "perfkit@example.com", server = "localhost:25", security = "none" }
"""


def write_template(path: Path, *, replace: bool = False) -> None:
    """Write `PERFKIT_TOML` to `path`, whole or not at all.

    Args:
        path: the file to make, in a folder that exists.
        replace: whether a file that is there may be replaced.

    Raises:
        InputError: there is such a file already, or no such folder.
        FileError: the file cannot be written; what was there is as it was.
    """
    temporary = path.parent / f".perfkit-{os.getpid()}.new"
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it, such as {path / 'perfkit.toml'}")
        _write_synced(temporary, PERFKIT_TOML)
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # unlike a rename, it refuses when another file came there meanwhile
    except FileExistsError:
        raise InputError(f"{path} exists and was left as it is; --force replaces it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} cannot be made: {path.parent} is no folder; make it, or name another place") from None
    except OSError as error:
        advice = "make room or give write permission, or name another place; nothing was changed"
        raise FileError(f"{path} cannot be written: {error.strerror}; {advice}") from error
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or could not even be made
            temporary.unlink()


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
