"""What all gRPC-based methods share: the channel, its options, and the meaning of its errors."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import grpc

from perfkit.errors import MethodUnavailableError, PayloadTooLargeError, PeerLostError, TransferError
from perfkit.errors import TransferTimeoutError as TimedOut
from perfkit.units import format_bytes

__all__ = ["MAX_MESSAGE_BYTES", "SERVICE", "SOCKET_NAME", "check_size", "open_channel", "raise_transfer_error"]

SERVICE = "perfkit.transfer.v1.Transfer"
SOCKET_NAME = "grpc.sock"
MAX_MESSAGE_BYTES = 2**31 - 1 - 2**20
"""Protobuf ends at 2 GiB - 1; one MiB is left for the description and the framing."""

UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def open_channel(folder: str, timeout_s: float) -> grpc.Channel:
    """A ready channel to the receiver in `folder`.

    Raises:
        MethodUnavailableError: nobody listens there.
    """
    # A subchannel of its own for each sender: gRPC would otherwise share one connection between them.
    options = (*UNLIMITED, ("grpc.use_local_subchannel_pool", 1))
    channel = grpc.insecure_channel(f"unix:{Path(folder, SOCKET_NAME).absolute()}", options=options)
    try:
        # A call that nobody implements answers as soon as the channel is up; gRPC's own future polls every 200 ms.
        channel.unary_unary(f"/{SERVICE}/Ready", bytes, bytes)(b"", timeout=timeout_s, wait_for_ready=True)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            channel.close()
            raise MethodUnavailableError(f"no receiver serves gRPC in {folder}; is it running?") from None
    return channel


def check_size(wire_bytes: int) -> None:
    """Refuse what protobuf cannot carry before any of it is copied.

    Raises:
        PayloadTooLargeError: over `MAX_MESSAGE_BYTES`.
    """
    if wire_bytes > MAX_MESSAGE_BYTES:
        raise PayloadTooLargeError(
            f"payload of {format_bytes(wire_bytes)}; one gRPC message carries at most "
            f"{format_bytes(MAX_MESSAGE_BYTES)}: use grpc_stream, uds or shm_pool"
        )


def raise_transfer_error(error: grpc.RpcError) -> NoReturn:
    """Raise what a gRPC error means."""
    code, details = error.code(), error.details()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        raise PeerLostError(f"the receiver died or closed the gRPC connection ({details})") from None
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise TimedOut("the receiver did not acknowledge in time over gRPC; is it stopped or overloaded?") from None
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        raise PayloadTooLargeError(f"gRPC refused the payload ({details}); use grpc_stream, uds or shm_pool") from None
    raise TransferError(f"the receiver refused the payload: {details}") from None
