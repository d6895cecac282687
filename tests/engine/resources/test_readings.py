"""Readings: of this machine, and of hosts made of files, sound and broken."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from perfkit.engine.resources import Reader

if TYPE_CHECKING:
    from tests.engine.resources.conftest import FakeHost

GIB = 2**30
FILES = (
    "proc/stat",
    "proc/meminfo",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/self/status",
    "proc/pressure/memory",
    "sys/fs/cgroup/pod/memory.max",
    "sys/fs/cgroup/pod/memory.current",
    "sys/fs/cgroup/pod/memory.stat",
    "sys/fs/cgroup/pod/cpu.max",
    "sys/fs/cgroup/pod/cpu.stat",
    "sys/fs/cgroup/pod/memory.pressure",
)


def test_this_machine_is_read() -> None:
    reader = Reader()
    first = reader.read()
    sum(number * number for number in range(2_000_000))  # until some ticks have passed
    second = reader.read()
    assert first.cpu_share is None
    assert second.cpu_share is not None
    assert 0 < second.cpu_share <= 1
    assert second.cpu_cores is not None
    assert second.cpu_cores > 0
    assert second.memory_share is not None
    assert 0 < second.memory_share < 1
    assert second.memory_free_bytes is not None
    assert second.memory_total_bytes is not None
    assert 0 < second.memory_free_bytes < second.memory_total_bytes
    assert second.moment_ns > first.moment_ns


def test_processor_use_is_that_since_the_last_look(host: FakeHost) -> None:
    reader = host.reader()
    assert reader.read().cpu_share is None
    host.run(1.0, 0.5)
    assert reader.read().cpu_share == pytest.approx(0.75)
    host.run(0.0, 0.1)
    reading = reader.read()
    assert reading.cpu_share == pytest.approx(0.05)
    assert (reading.cpu_cores, reading.cpu_source) == (2, "host")


def test_time_that_the_hypervisor_stole_was_not_granted(host: FakeHost) -> None:
    reader = host.reader()
    reader.read()
    host.run(0.5, 0.5, stolen=900)
    assert reader.read().cpu_share == pytest.approx(0.5)


def test_only_the_processors_that_the_process_may_use_count(host: FakeHost) -> None:
    host.write("proc/self/status", "Name:\tservice\nCpus_allowed_list:\t1,3-5\n")
    reader = host.reader()
    reader.read()
    host.run(0.0, 0.9)
    reading = reader.read()
    assert (reading.cpu_share, reading.cpu_cores) == (pytest.approx(0.9), 1)


def test_a_processor_that_is_plugged_in_or_taken_out_begins_the_count_anew(host: FakeHost) -> None:
    reader = host.reader()
    reader.read()
    host.write("proc/self/status", "Name:\tservice\nCpus_allowed_list:\t0-7\n")
    host.busy, host.idle = [*host.busy, 500_000], [*host.idle, 0]
    host.run(0.5, 0.5, 0.5)
    assert reader.read().cpu_share is None
    host.run(0.5, 0.5, 0.5)
    reading = reader.read()
    assert (reading.cpu_share, reading.cpu_cores) == (pytest.approx(0.5), 3)
    del host.busy[2], host.idle[2]
    host.run(0.2, 0.2)
    assert reader.read().cpu_share is None
    host.run(0.2, 0.2)
    assert reader.read().cpu_share == pytest.approx(0.2)


def test_counters_that_begin_anew_give_no_figure_once(host: FakeHost) -> None:
    reader = host.reader()
    host.run(0.5, 0.5, seconds=100)
    reader.read()
    host.busy, host.idle = [0, 0], [0, 0]
    host.run(0.5, 0.5)
    assert reader.read().cpu_share is None
    host.run(1.0, 1.0)
    assert reader.read().cpu_share == 1.0


def test_two_looks_at_one_moment_give_one_figure(host: FakeHost) -> None:
    reader = host.reader()
    reader.read()
    host.run(0.8, 0.8)
    assert reader.read().cpu_share == reader.read().cpu_share == pytest.approx(0.8)


def test_a_clock_that_jumps_back_stands_still_and_goes_on(host: FakeHost) -> None:
    host.version_2("/pod")
    host.group("pod", cpu__max="100000 100000\n", cpu__stat="usage_usec 0\nuser_usec 0\n")
    reader = host.reader()
    before = reader.read()
    host.run(0.1, 0.1)
    host.group("pod", cpu__stat="usage_usec 700000\n")
    reading = reader.read()
    assert reading.cpu_share == pytest.approx(0.7)
    host.now_ns -= 3600 * 10**9
    jumped = reader.read()
    assert jumped.moment_ns == reading.moment_ns > before.moment_ns
    assert jumped.cpu_share == pytest.approx(0.7)
    host.run(0.1, 0.1)
    host.group("pod", cpu__stat="usage_usec 1000000\n")
    after = reader.read()
    assert after.moment_ns == jumped.moment_ns + 10**9
    assert after.cpu_share == pytest.approx(0.3)


def test_without_groups_memory_is_that_of_the_host(host: FakeHost) -> None:
    reading = host.reader().read()
    assert (reading.memory_share, reading.memory_free_bytes) == (0.25, 12 * GIB)
    assert (reading.memory_total_bytes, reading.memory_source) == (16 * GIB, "host")


def test_the_tightest_group_counts_without_its_file_cache(host: FakeHost) -> None:
    host.version_2()
    host.group(
        "pod", memory__max=f"{8 * GIB}\n", memory__current=f"{6 * GIB}\n", memory__stat="anon 1\ninactive_file 0\n"
    )
    host.group(
        "pod/service",
        memory__max=f"{4 * GIB}\n",
        memory__current=f"{int(3.5 * GIB)}\n",
        memory__stat=f"anon 1\ninactive_file {2 * GIB}\nactive_file 5\n",
    )
    reading = host.reader().read()
    assert reading.memory_share == 0.75
    assert reading.memory_source == f"{host.root}/sys/fs/cgroup/pod/memory.max"
    assert (reading.memory_total_bytes, reading.memory_free_bytes) == (8 * GIB, 2 * GIB)


def test_the_limit_from_which_a_group_is_slowed_down_counts(host: FakeHost) -> None:
    host.version_2("/pod")
    host.group("pod", memory__max="max\n", memory__high=f"{4 * GIB}\n", memory__current=f"{2 * GIB}\n")
    reading = host.reader().read()
    assert reading.memory_share == 0.5
    assert reading.memory_source is not None
    assert reading.memory_source.endswith("pod/memory.high")


def test_a_limit_above_what_the_host_has_is_none(host: FakeHost) -> None:
    host.version_2("/pod")
    host.group("pod", memory__max=f"{64 * GIB}\n", memory__current=f"{48 * GIB}\n", cpu__max="800000 100000\n")
    assert host.reader().read().memory_source == "host"


def test_groups_of_version_1_count(host: FakeHost) -> None:
    host.write("proc/self/cgroup", "4:memory:/docker/a\n2:cpu,cpuacct:/docker/a\n1:name=systemd:/\n0::/\n")
    mounts = [
        f"{number} 31 0:{number} /docker/a /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
        for number, name in enumerate(("memory", "cpu,cpuacct"), start=32)
    ]
    host.write("proc/self/mountinfo", "".join(mounts))
    host.group(
        "memory",
        memory__limit_in_bytes=f"{2 * GIB}\n",
        memory__usage_in_bytes=f"{2 * GIB}\n",
        memory__stat=f"cache 5\ninactive_file 1\ntotal_inactive_file {GIB}\n",
    )
    host.group("cpu,cpuacct", cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n", cpuacct__usage="5\n")
    reader = host.reader()
    reader.read()
    host.run(0.2, 0.2)
    host.group("cpu,cpuacct", cpuacct__usage="450000005\n")
    reading = reader.read()
    assert (reading.memory_share, reading.memory_total_bytes) == (0.5, 2 * GIB)
    assert (reading.cpu_share, reading.cpu_cores) == (pytest.approx(0.9), 0.5)
    assert reading.cpu_source is not None
    assert reading.cpu_source.endswith("cpu.cfs_quota_us")


def test_a_group_without_limit_of_version_1_is_none(host: FakeHost) -> None:
    host.write("proc/self/cgroup", "4:memory:/\n2:cpu:/\n")
    host.write(
        "proc/self/mountinfo",
        "32 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "33 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "34 31 0:34 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n",
    )
    host.group("memory", memory__limit_in_bytes="9223372036854771712\n", memory__usage_in_bytes="5\n")
    host.group("cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    host.group("cpuacct", cpuacct__usage="5\n")
    reader = host.reader()
    reader.read()
    host.run(0.5, 0.5)
    reading = reader.read()
    assert (reading.memory_source, reading.cpu_source) == ("host", "host")


def test_a_limit_that_is_raised_counts_in_the_second_look(host: FakeHost) -> None:
    host.version_2("/pod")
    host.group("pod", memory__max=f"{4 * GIB}\n", memory__current=f"{3 * GIB}\n")
    reader = host.reader()
    assert reader.read().memory_share == 0.75
    host.group("pod", memory__max=f"{8 * GIB}\n")
    shares = []
    for _ in range(2):
        host.run(0.1, 0.1, seconds=0.25)
        shares.append(reader.read().memory_share)
    assert shares[1] == 0.375


def test_a_process_that_is_moved_is_found_again(host: FakeHost) -> None:
    host.version_2("/old")
    host.group("old", memory__max=f"{4 * GIB}\n", memory__current=f"{3 * GIB}\n")
    host.group("new", memory__max=f"{2 * GIB}\n", memory__current=f"{GIB}\n")
    reader = host.reader()
    assert reader.read().memory_total_bytes == 4 * GIB
    host.version_2("/new")
    host.run(0.1, 0.1, seconds=5)
    assert reader.read().memory_total_bytes == 2 * GIB


def test_time_stalled_is_that_of_the_own_group_before_that_of_the_host(host: FakeHost) -> None:
    def text(total_us: int) -> str:
        return f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total_us}\nfull avg10=0.00 total=999999999\n"

    host.version_2("/pod")
    host.group("pod", memory__pressure=text(100))
    host.write("proc/pressure/memory", text(0))
    host.write("proc/pressure/cpu", text(500))
    reader = host.reader()
    first = reader.read()
    assert (first.psi_memory, first.psi_cpu) == (None, None)
    host.run(0.1, 0.1)
    host.group("pod", memory__pressure=text(250_100))
    host.write("proc/pressure/cpu", text(20_500))
    second = reader.read()
    assert (second.psi_memory, second.psi_cpu) == (0.25, 0.02)


def test_what_the_system_does_not_tell_is_unknown(host: FakeHost) -> None:
    for path in ("proc/stat", "proc/meminfo", "proc/self/status"):
        host.remove(path)
    reader = host.reader()
    reader.read()
    host.now_ns += 10**9
    reading = reader.read()
    assert {name: value for name, value in reading.to_plain().items() if value is not None} == {
        "moment_ns": host.now_ns
    }


def test_folders_and_pipes_in_place_of_files_are_unknown(host: FakeHost) -> None:
    import os

    host.remove("proc/stat")
    host.remove("proc/meminfo")
    (host.root / "proc/stat").mkdir()
    os.mkfifo(host.root / "proc/meminfo")
    reading = host.reader().read()
    assert (reading.cpu_share, reading.memory_share) == (None, None)


def test_no_content_of_any_file_is_an_exception(host: FakeHost) -> None:
    chance = random.Random(6)
    words = (
        b"cpu|cpu0 |cpu99999999999 |MemTotal: |MemAvailable:| kB\n|\n| |0::/pod|total=|some |usage_usec |max|-1|..|/"
    )
    words += b"|inactive_file |\x00|\xff\xfe| - cgroup2 cgroup2 rw|Cpus_allowed_list:\t0-|9223372036854775807|0|1e400|"
    words += b"1" * 5000
    pieces = words.split(b"|")
    reader = host.reader()
    host.version_2("/pod")
    for _ in range(300):
        path, text = chance.choice(FILES), b"".join(chance.choices(pieces, k=chance.randrange(12)))
        host.write(path, text)
        if chance.random() < 0.1:
            host.remove(path)
        if chance.random() < 0.2:
            host.version_2("/pod")
        host.now_ns += chance.choice([-(10**12), 0, 1, 10**8, 10**9, 6 * 10**9, 10**15])
        reading = reader.read()
        for name in ("cpu_share", "memory_share", "psi_cpu", "psi_memory"):
            share = getattr(reading, name)
            assert share is None or 0 <= share <= 1, (name, share)
