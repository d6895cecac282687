"""Announcing shared-memory blocks over gRPC: all that a service has which talks nothing else."""

from __future__ import annotations

import grpc

from perfkit.transfer.grpc_common import SERVICE, open_channel, raise_transfer_error
from perfkit.transfer.grpc_pb.transfer_pb2 import Acknowledgement, Announcement
from perfkit.transfer.memory import Region
from perfkit.transfer.signalling import pack_header
from perfkit.transfer.wire import OP_REGION

__all__ = ["METHOD_KEY", "GrpcSignaller"]

METHOD_KEY = "perfkit-method"
"""Metadata key that says which method's announcement this is."""


class GrpcSignaller:
    """See `perfkit.transfer.signalling.Signaller`."""

    def __init__(self, name: str, folder: str, timeout_s: float) -> None:
        self._channel = open_channel(folder, timeout_s)
        self._timeout_s = timeout_s
        self._metadata = ((METHOD_KEY, name),)
        self._announce = self._channel.unary_unary(
            f"/{SERVICE}/Announce",
            request_serializer=Announcement.SerializeToString,
            response_deserializer=Acknowledgement.FromString,
        )

    def announce(self, op: int, flags: int, meta: bytes, region: Region, offset: int, wire_bytes: int) -> int:
        """See `Signaller`."""
        header = pack_header(op, flags, meta, region, offset, wire_bytes)
        try:
            reply = self._announce(
                Announcement(header=header, meta=meta), timeout=self._timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise_transfer_error(error)
        return int(reply.value)

    def introduce(self, region: Region) -> None:
        """See `Signaller`."""
        self.announce(OP_REGION, 0, b"", region, region.descriptor, 0)

    def announce_segment(self, flags: int, meta: bytes, region: Region, wire_bytes: int, op: int) -> int:
        """See `Signaller`."""
        return self.announce(op, flags, meta, region, region.descriptor, wire_bytes)

    def close(self) -> None:
        """See `Signaller`."""
        self._channel.close()
