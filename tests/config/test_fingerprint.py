"""The fingerprint: complete, stable, coarse where costs are, and readable when two hosts differ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perfkit.config.fingerprint import (
    FINGERPRINT_KEYS,
    UNKNOWN,
    collect_fingerprint,
    copy_tunables,
    differences,
    parse_cpu_model,
    read_shmem_huge_pages,
    read_virtualisation,
)


def test_every_key_has_a_value_and_a_second_collection_agrees() -> None:
    here = collect_fingerprint()
    assert tuple(here) == tuple(FINGERPRINT_KEYS)
    assert all(isinstance(value, str) and value for value in here.values())
    assert collect_fingerprint() == here


def test_a_caller_that_changes_its_copy_does_not_change_the_next_one() -> None:
    collect_fingerprint()["cpu"] = "changed"
    assert collect_fingerprint()["cpu"] != "changed"


def test_the_same_host_has_no_differences() -> None:
    assert differences(collect_fingerprint(), collect_fingerprint()) == ()


def test_each_difference_is_one_sentence_with_both_values() -> None:
    here = collect_fingerprint()
    published = {**here, "grpcio": "1.0.0", "cpu": "Abacus 1"}
    cpu, grpcio = differences(published, here)
    assert cpu == f"CPU: measured on Abacus 1, here it is {here['cpu']}"
    assert "1.0.0" in grpcio
    assert here["grpcio"] in grpcio


def test_unknown_or_absent_values_are_no_difference() -> None:
    assert differences({"cpu": UNKNOWN, "memory": "8GiB"}, {"cpu": "EPYC", "memory": UNKNOWN}) == ()
    assert differences({}, {"cpu": "EPYC"}) == ()
    assert differences({"a key of a later perfkit": "x"}, {"cpu": "EPYC"}) == ()


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7763\n", "AMD EPYC 7763"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "ARM 0x41 0xd0c"),
        ("", UNKNOWN),
        ("no colon here", UNKNOWN),
    ],
)
def test_cpu_model_on_x86_arm_and_unreadable_systems(cpuinfo: str, expected: str) -> None:
    assert parse_cpu_model(cpuinfo) == expected


def test_the_chosen_huge_page_setting_is_the_one_in_brackets(tmp_path: Path) -> None:
    assert read_shmem_huge_pages(tmp_path) == UNKNOWN
    folder = tmp_path / "sys/kernel/mm/transparent_hugepage"
    folder.mkdir(parents=True)
    (folder / "shmem_enabled").write_text("always within_size [advise] never deny force\n")
    assert read_shmem_huge_pages(tmp_path) == "advise"


def test_virtual_machines_and_containers_are_told_apart(tmp_path: Path) -> None:
    assert read_virtualisation(tmp_path) == UNKNOWN
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("flags\t\t: fpu vme\n")
    assert read_virtualisation(tmp_path) == "none"
    (tmp_path / "proc/cpuinfo").write_text("flags\t\t: fpu hypervisor vme\n")
    assert read_virtualisation(tmp_path) == "virtual machine"
    (tmp_path / ".dockerenv").touch()
    assert read_virtualisation(tmp_path) == "virtual machine, container"


def test_only_tunables_that_change_copying_count() -> None:
    assert copy_tunables("") == copy_tunables("glibc.malloc.check=3") == "default"
    assert copy_tunables("glibc.cpu.b=2:glibc.cpu.a=1") == "a=1 b=2"


def test_it_needs_no_library_beyond_the_standard_one() -> None:
    code = (
        "import sys; from perfkit.config.fingerprint import collect_fingerprint; collect_fingerprint(); "
        "print([m for m in ('numpy', 'grpc', 'pyarrow', 'psutil', 'click', 'rich') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
