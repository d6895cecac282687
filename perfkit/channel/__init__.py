"""The channel: what a service calls to have payloads moved, recorded and answered.

`serve` hands payloads to a handler, `connect` sends them. The protocol is `core` (no I/O: bytes in, events out) with a
synchronous shell over Unix sockets, `lane`; see docs/reference/wire-protocol.md.
"""

from perfkit.channel.client import Channel, connect
from perfkit.channel.exchange import Exchange
from perfkit.channel.requests import Request
from perfkit.channel.server import Server, serve
from perfkit.channel.statistics import ChannelStatistics, Health, ServerStatistics

__all__ = [
    "Channel",
    "ChannelStatistics",
    "Exchange",
    "Health",
    "Request",
    "Server",
    "ServerStatistics",
    "connect",
    "serve",
]
