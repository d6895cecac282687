"""Headroom over every kind of cgroup tree, and capabilities that say why not."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from perfkit.transfer import platform
from perfkit.transfer.platform import capabilities, find_cgroup_memory, headroom, shared_memory_space

MIB = 2**20
GIB = 2**30
V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1_MOUNT = "35 31 0:32 {mounted} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


class Host:
    """A fake `/proc` and `/sys` in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def memory(self, *, total: int, available: int) -> None:
        self.write("proc/meminfo", f"MemTotal: {total // 1024} kB\nMemAvailable: {available // 1024} kB\n")

    def in_cgroup(self, membership: str, mounts: str) -> None:
        self.write("proc/self/cgroup", membership)
        self.write("proc/self/mountinfo", mounts)

    def v2_group(self, path: str, limit: str, usage: int, inactive_file: int = 0) -> None:
        folder = f"sys/fs/cgroup{path}"
        self.write(f"{folder}/memory.max", f"{limit}\n")
        self.write(f"{folder}/memory.current", f"{usage}\n")
        self.write(f"{folder}/memory.stat", f"anon 5\ninactive_file {inactive_file}\n")

    def v1_group(self, path: str, limit: int, usage: int, inactive_file: int = 0) -> None:
        folder = f"sys/fs/cgroup/memory{path}"
        self.write(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"{folder}/memory.usage_in_bytes", f"{usage}\n")
        self.write(f"{folder}/memory.stat", f"inactive_file 7\ntotal_inactive_file {inactive_file}\n")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.memory(total=16 * GIB, available=8 * GIB)
    return host


def test_without_cgroups_available_memory_less_the_reserve_is_left(host: Host) -> None:
    found = headroom(str(host.root))
    assert found.limit_source == "MemAvailable"
    assert found.reserve_bytes == round(16 * GIB * 0.05)
    assert found.available_bytes == 8 * GIB - found.reserve_bytes


def test_the_tightest_of_nested_cgroups_limits(host: Host) -> None:
    host.in_cgroup("0::/pod/service\n", V2_MOUNT)
    host.v2_group("/pod/service", "max", 100 * MIB)
    host.v2_group("/pod", str(1 * GIB), 600 * MIB)
    found = headroom(str(host.root))
    assert found.limit_source.endswith("/sys/fs/cgroup/pod")
    assert found.reserve_bytes == 64 * MIB
    assert found.available_bytes == (1024 - 600 - 64) * MIB


def test_a_wider_limit_than_the_machine_has_does_not_count(host: Host) -> None:
    host.in_cgroup("0::/pod\n", V2_MOUNT)
    host.v2_group("/pod", str(64 * GIB), 0)
    assert headroom(str(host.root)).limit_source == "MemAvailable"


def test_page_cache_that_the_kernel_can_drop_is_room(host: Host) -> None:
    host.in_cgroup("0::/pod\n", V2_MOUNT)
    host.v2_group("/pod", str(1 * GIB), 1000 * MIB, inactive_file=700 * MIB)
    assert headroom(str(host.root)).available_bytes == (24 + 700 - 64) * MIB


def test_memory_within_the_reserve_is_left_but_may_not_be_reserved(host: Host) -> None:
    host.in_cgroup("0::/pod\n", V2_MOUNT)
    host.v2_group("/pod", str(1 * GIB), 1000 * MIB)
    found = headroom(str(host.root))
    assert (found.available_bytes, found.left_bytes) == (0, 24 * MIB)


def test_a_full_cgroup_leaves_nothing_rather_than_less(host: Host) -> None:
    host.in_cgroup("0::/pod\n", V2_MOUNT)
    host.v2_group("/pod", str(256 * MIB), 255 * MIB)
    assert headroom(str(host.root)).available_bytes == 0


def test_version_1_counts_the_whole_subtree_and_knows_no_limit_as_a_huge_number(host: Host) -> None:
    host.in_cgroup("4:memory:/a/b\n0::/\n", V1_MOUNT.format(mounted="/") + V2_MOUNT)
    host.v1_group("/a/b", 9223372036854771712, 10 * MIB)
    host.v1_group("/a", 2 * GIB, 1536 * MIB, inactive_file=100 * MIB)
    host.v1_group("", 9223372036854771712, 4 * GIB)
    found = headroom(str(host.root))
    assert found.limit_source.endswith("/sys/fs/cgroup/memory/a")
    assert found.available_bytes == 512 * MIB + 100 * MIB - found.reserve_bytes


@pytest.mark.parametrize("membership", ["/docker/abc", "/", "/../outside", "/docker/abcdef"])
def test_a_container_whose_mount_is_its_own_cgroup_reads_the_mount(host: Host, membership: str) -> None:
    host.in_cgroup(f"4:memory:{membership}\n", V1_MOUNT.format(mounted="/docker/abc"))
    host.v1_group("", 1 * GIB, 0)
    assert headroom(str(host.root)).available_bytes == 1 * GIB - 64 * MIB


def test_a_membership_that_is_not_mounted_falls_back_to_what_is(host: Host) -> None:
    host.in_cgroup("0::/system.slice/docker-1.scope\n", V2_MOUNT)
    host.v2_group("", str(1 * GIB), 0)
    assert headroom(str(host.root)).available_bytes == 1 * GIB - 64 * MIB


def test_without_proc_a_quarter_of_the_memory_is_presumed(tmp_path: Path) -> None:
    total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = headroom(str(tmp_path))
    assert found.limit_source == "physical memory"
    assert found.available_bytes == max(total_bytes // 4 - found.reserve_bytes, 0)


@pytest.mark.parametrize("text", ["", "garbage\n", "0::\n", "a:b\n"])
def test_unreadable_memberships_mean_no_cgroup_limit(tmp_path: Path, text: str) -> None:
    host = Host(tmp_path)
    host.in_cgroup(text, "short line\n" + text)
    assert find_cgroup_memory(str(tmp_path)).folders == ()


def test_this_host_answers() -> None:
    found = headroom()
    assert found.available_bytes >= 0
    assert found.limit_source


def test_every_method_has_a_capability_and_every_missing_one_a_remedy() -> None:
    found = capabilities()
    assert set(found) == {"grpc", "grpc_stream", "uds", "shm", "shm_pool"}
    assert all(capability.reason for capability in found.values())
    assert all(capability.remedy for capability in found.values() if not capability.available)


def test_a_missing_grpcio_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    capability = capabilities.__wrapped__()["grpc"]
    assert not capability.available
    assert "grpcio" in capability.reason
    assert "pip install" in capability.remedy


def test_a_python_without_unix_sockets_keeps_the_other_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    found = capabilities.__wrapped__()
    assert not found["uds"].available
    assert found["grpc"].available


def test_a_sandbox_that_refuses_memfd_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, flags: int) -> NoReturn:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    capability = capabilities.__wrapped__()["shm_pool"]
    assert not capability.available
    assert "Operation not permitted" in capability.reason


def test_named_segments_serve_where_there_is_no_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    capability = capabilities.__wrapped__()["shm"]
    assert capability.available
    assert "named segments" in capability.reason


def test_a_kernel_without_the_last_seal_still_has_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "_SEAL_FUTURE_WRITE", 1 << 30)
    capability = capabilities.__wrapped__()["shm_pool"]
    assert capability.available
    assert "5.1" in capability.reason


def test_probing_leaves_no_descriptor_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    capabilities.__wrapped__()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_space_for_named_segments_is_told_or_none(tmp_path: Path) -> None:
    space = shared_memory_space(str(tmp_path))
    assert space is not None
    assert 0 <= space.free_bytes <= space.size_bytes
    assert shared_memory_space(str(tmp_path / "missing")) is None
