"""Regions: reserved before use, sealed against peers, never beyond what the machine has."""

from __future__ import annotations

import fcntl
import mmap
import os
import subprocess
import sys

import pytest

from perfkit.errors import NoRoomError, TransferError
from perfkit.transfer import memory
from perfkit.transfer.memory import PAGE_BYTES, Region, open_descriptor, peer_descriptor
from perfkit.transfer.platform import Headroom

F_SEAL_FUTURE_WRITE = 0x10


@pytest.fixture
def region():
    made = Region(100_000)
    yield made
    made.close()


def test_size_is_whole_pages(region):
    assert region.size_bytes == -(-100_000 // PAGE_BYTES) * PAGE_BYTES
    assert region.view.nbytes == region.size_bytes


def test_memory_is_reserved_before_it_is_used():
    """All blocks belong to the file before the first touch: no SIGBUS later."""
    region = Region(2**20, prefault=False)
    assert os.fstat(region.descriptor).st_blocks * 512 >= 2**20
    region.close()


def test_peer_can_neither_write_nor_truncate(region):
    """The owner writes; a peer with the descriptor can map it only for reading and cannot change its size."""
    region.view[:4] = b"mine"
    seals = fcntl.fcntl(region.descriptor, fcntl.F_GET_SEALS)
    assert seals & F_SEAL_FUTURE_WRITE
    with pytest.raises(PermissionError):
        mmap.mmap(region.descriptor, region.size_bytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(PermissionError):
        os.ftruncate(region.descriptor, 0)
    with pytest.raises(PermissionError):
        os.pwrite(region.descriptor, b"theirs", 0)
    shared = open_descriptor(region.descriptor, region.size_bytes)
    assert bytes(shared.slice(0, 4)) == b"mine"
    assert shared.slice(0, 4).readonly
    shared.close()


def test_reader_sees_later_writes(region):
    shared = open_descriptor(region.descriptor, region.size_bytes)
    view = shared.slice(10, 5)
    region.view[10:15] = b"later"
    assert bytes(view) == b"later"
    view.release()
    shared.close()


def test_block_outside_the_region_is_refused(region):
    shared = open_descriptor(region.descriptor, region.size_bytes)
    with pytest.raises(TransferError, match="outside its region"):
        shared.slice(region.size_bytes - 10, 11)
    shared.close()


def test_unsealed_memory_is_refused(tmp_path):
    """A peer that could truncate its memory could kill us with SIGBUS."""
    with (tmp_path / "file").open("wb+") as file:
        file.truncate(PAGE_BYTES)
        with pytest.raises(TransferError, match="not sealed"):
            open_descriptor(file.fileno(), PAGE_BYTES)
        open_descriptor(file.fileno(), PAGE_BYTES, allow_unsealed=True).close()


def test_no_room_is_said_before_anything_is_reserved(monkeypatch):
    """Beyond the headroom there is an error that names the limit, not a SIGKILL of the cgroup."""
    room = Headroom(5 * 2**20, "memory cgroup /service", 64 * 2**20, 69 * 2**20)
    monkeypatch.setattr(memory, "headroom", lambda: room)
    with pytest.raises(NoRoomError, match=r"10MiB .* 5MiB available \(memory cgroup /service, 64MiB kept in reserve"):
        Region(10 * 2**20)


def test_named_region_on_a_full_file_system_is_no_room(tmp_path):
    """`/dev/shm` of 1 MiB: reserving 4 MiB fails at once with `NoRoomError`, and nothing stays there."""
    script = """
import sys
from perfkit.errors import NoRoomError
from perfkit.transfer.memory import Region
import os
folder = sys.argv[1]
Region(2**16, named_in=folder).close()
try:
    Region(4 * 2**20, named_in=folder)
except NoRoomError as error:
    print("no room:", "No space left" in str(error), sorted(os.listdir(folder)))
"""
    command = f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec {sys.executable} -c '{script}' {tmp_path}"
    run = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False)
    if run.returncode and "not permitted" in run.stderr:
        pytest.skip("mounting a small tmpfs needs root")
    assert run.stdout.strip() == "no room: True []", run.stderr


def test_named_region_leaves_no_name(tmp_path):
    region = Region(PAGE_BYTES, named_in=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    region.view[:2] = b"ok"
    shared = open_descriptor(region.descriptor, region.size_bytes, allow_unsealed=True)
    assert bytes(shared.slice(0, 2)) == b"ok"
    shared.close()
    region.close()


def test_descriptor_of_another_process_that_is_gone():
    with pytest.raises(TransferError, match="one user and one PID namespace"), peer_descriptor(2**22 + 1, 3):
        pass


def test_closing_while_a_view_is_held_keeps_the_memory_readable(region):
    view = region.view[:3]
    region.view[:3] = b"abc"
    region.close()
    assert bytes(view) == b"abc"
