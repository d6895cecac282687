"""The doctor names what limits a host and the command that fixes it, on every kind of host."""

from __future__ import annotations

import json
import os
import platform
import resource
from pathlib import Path

import pytest

from perfkit.measurement.presets import make_sweep
from perfkit.transfer.platform import Capability
from perfkit.workflows.doctor import (
    Diagnosis,
    Finding,
    check_clock,
    check_copy_tunable,
    check_cores,
    check_descriptors,
    check_governor,
    check_huge_pages,
    check_kernel,
    check_load,
    check_memory,
    check_shared_memory,
    check_socket_buffers,
    check_steal,
    check_versions,
    diagnose,
)

CGROUP = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_this_host_gets_a_finding_for_every_topic() -> None:
    diagnosis = diagnose()
    topics = [finding.topic for finding in diagnosis.findings]
    assert len(topics) == len(set(topics)) == 13
    assert all(finding.finding for finding in diagnosis.findings)
    assert set(diagnosis.methods) >= {"grpc", "uds", "shm_pool"}


def test_an_empty_host_is_diagnosed_without_a_guess(tmp_path: Path) -> None:
    levels = {finding.topic: finding.level for finding in diagnose(tmp_path).findings}
    unknown = ("kernel", "CPU governor", "noisy neighbours", "other work", "clock", "huge pages", "/dev/shm")
    assert {levels[topic] for topic in unknown} == {"note"}


@pytest.mark.parametrize(
    ("release", "level"),
    [("6.18.1", "ok"), ("5.14.0-el9", "ok"), ("5.13.9", "limit"), ("4.18.0", "limit"), ("", "note")],
)
def test_old_kernels_limit(release: str, level: str) -> None:
    assert check_kernel(release).level == level


def test_a_cpu_quota_below_the_cores_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert check_cores(tmp_path).level == "ok"
    other = tmp_path / "limited"
    write(other, "proc/self/cgroup", "0::/pod\n")
    write(other, "proc/self/mountinfo", CGROUP)
    write(other, "sys/fs/cgroup/pod/cpu.max", "150000 100000\n")
    finding = check_cores(other)
    assert finding.level == "limit"
    assert "1.5" in finding.finding


def test_a_version_1_quota_limits_too_and_no_quota_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert check_cores(tmp_path).level == "ok"
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n")
    assert check_cores(tmp_path).level == "limit"


@pytest.mark.parametrize(("cores", "level"), [(1, "limit"), (2, "note"), (3, "ok")])
def test_two_ends_want_two_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, level: str) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert check_cores(tmp_path).level == level


@pytest.mark.parametrize(("governor", "level"), [("performance", "ok"), ("powersave", "limit"), ("", "note")])
def test_a_varying_frequency_limits(governor: str, level: str) -> None:
    assert check_governor(governor).level == level


@pytest.mark.parametrize(
    ("stat", "level"),
    [
        ("cpu 990 0 0 5000 0 0 0 5 0 0\ncpu0 1", "ok"),
        ("cpu 900 0 0 5000 0 0 0 100 0 0", "limit"),
        ("cpu 0 0 0 0 0 0 0 0 0 0", "ok"),
        ("", "note"),
    ],
)
def test_stolen_time_is_judged_against_busy_time(stat: str, level: str) -> None:
    assert check_steal(stat).level == level


def test_other_work_is_judged_against_the_cores() -> None:
    assert check_load("1.90 0 0 1/1 1", 16).level == "ok"
    assert check_load("9.00 0 0 1/1 1", 16).level == "limit"


@pytest.mark.parametrize(("clock", "level"), [("tsc", "ok"), ("kvm-clock", "ok"), ("hpet", "limit"), ("", "note")])
def test_a_slow_clock_limits(clock: str, level: str) -> None:
    assert check_clock(clock).level == level


def test_little_memory_names_the_cgroup_and_how_to_raise_it(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 16777216 kB\n")
    assert check_memory(tmp_path).level == "ok"
    limited = tmp_path / "limited"
    write(limited, "proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 16777216 kB\n")
    write(limited, "proc/self/cgroup", "0::/pod\n")
    write(limited, "proc/self/mountinfo", CGROUP)
    write(limited, "sys/fs/cgroup/pod/memory.max", "536870912\n")
    write(limited, "sys/fs/cgroup/pod/memory.current", "0\n")
    finding = check_memory(limited)
    assert finding.level == "limit"
    assert "sys/fs/cgroup/pod" in finding.finding
    assert "--memory" in finding.command


@pytest.mark.parametrize(("setting", "level"), [("within_size", "ok"), ("never", "limit"), ("advise", "limit")])
def test_huge_pages_for_shared_memory(tmp_path: Path, setting: str, level: str) -> None:
    write(tmp_path, "sys/kernel/mm/transparent_hugepage/shmem_enabled", f"always [{setting}] deny\n")
    assert check_huge_pages(tmp_path).level == level


def test_a_small_shared_memory_file_system_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_shared_memory(str(tmp_path / "missing")).level == "note"
    status = os.statvfs_result((4096, 4096, 16384, 16384, 16384, 1, 1, 1, 0, 255))  # 64 MiB: a container's default
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    finding = check_shared_memory("/dev/shm")
    assert finding.level == "note"
    assert "64MiB" in finding.finding
    assert "shm-size" in finding.command


def test_small_socket_buffers_come_with_the_setting_for_just_those(tmp_path: Path) -> None:
    assert check_socket_buffers(tmp_path).level == "note"
    write(tmp_path, "proc/sys/net/core/wmem_max", "212992\n")
    write(tmp_path, "proc/sys/net/core/rmem_max", "8388608\n")
    finding = check_socket_buffers(tmp_path)
    assert finding.level == "limit"
    assert finding.command == "sudo sysctl -w net.core.wmem_max=4194304"


@pytest.mark.parametrize(
    ("limits", "level"),
    [((1024, 1048576), "note"), ((65536, 65536), "ok"), ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok")],
)
def test_few_file_descriptors_are_noted(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], level: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    assert check_descriptors().level == level


def test_a_chosen_copy_tunable_is_shown() -> None:
    assert check_copy_tunable("x86_non_temporal_threshold=0x400000").level == "ok"


def test_a_missing_grpcio_is_a_limit_with_its_remedy() -> None:
    versions = {"python": "CPython 3.11", "grpcio": "not installed", "perfkit": "1"}
    assert "pip install" in check_versions(versions).command


def test_every_form_shows_the_finding_the_remedy_and_the_missing_method() -> None:
    finding = Finding("huge <pages>", "limit", "never", "echo within_size | sudo tee setting")
    diagnosis = Diagnosis(
        (finding,), {"grpc": Capability(False, "grpcio not installed", "pip install x")}, {"os": "Linux"}
    )
    for text in (str(diagnosis), json.dumps(diagnosis.to_plain())):
        assert "echo within_size" in text
        assert "pip install x" in text
        assert "huge <pages>" in text
    assert "huge &lt;pages&gt;" in diagnosis._repr_html_()
    assert diagnosis.to_plain()["limits"] == 1


def test_tables_fit_80_columns() -> None:
    diagnosis = diagnose()
    for table in (diagnosis.to_table(), diagnosis.to_methods_table()):
        assert max(map(len, str(table).splitlines())) <= 80


@pytest.mark.parametrize(("machine", "level"), [("x86_64", "note"), ("aarch64", "ok")])
def test_the_copy_tunable_is_only_proposed_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, machine: str, level: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert check_copy_tunable("default").level == level


def test_the_proposed_measurement_of_large_copies_has_large_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    *_, preset = check_copy_tunable("default").command.split()
    assert max(scenario.payload_bytes for scenario in make_sweep(preset).scenarios) >= 64 * 2**20
