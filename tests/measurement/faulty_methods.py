"""Methods that go wrong on purpose; imported by both ends of a launch."""

import os
import time

from perfkit.errors import NoRoomError
from perfkit.transfer.registry import method
from perfkit.transfer.shm_pool import ShmPool
from perfkit.transfer.uds import Uds, UdsSender


class _Faulty:
    signallings, zero_copy, max_bytes, copies = ("uds",), False, None, 0

    @staticmethod
    def serve(host):
        pass  # `uds` is served beside it


@method("dies")
class Dies(_Faulty):
    """The sending process dies in the middle of a send."""

    @staticmethod
    def connect(folder, options):
        class Sender:
            def send(self, encoded, flags=0):
                os._exit(9)

            def close(self):
                pass

        return Sender()


@method("kills_receiver")
class KillsReceiver(_Faulty):
    """The receiver is killed while it is used."""

    @staticmethod
    def serve(host):
        def announce(connection):
            os._exit(9)

        host.listen("kills_receiver", announce)

    @staticmethod
    def connect(folder, options):
        sender = UdsSender(folder, options)

        class Sender:
            def send(self, encoded, flags=0):
                from perfkit.transfer.sockets import connect

                connect(folder, "kills_receiver", 5).close()
                time.sleep(0.2)
                return sender.send(encoded, flags)

            def close(self):
                sender.close()

        return Sender()


@method("hangs")
class Hangs(_Faulty):
    """The sending process never comes back."""

    @staticmethod
    def connect(folder, options):
        class Sender:
            def send(self, encoded, flags=0):
                time.sleep(3600)

            def close(self):
                pass

        return Sender()


@method("no_room")
class NoRoom(_Faulty):
    """There is never any room."""

    @staticmethod
    def connect(folder, options):
        class Sender:
            def send(self, encoded, flags=0):
                raise NoRoomError("no room; make some")

            def close(self):
                pass

        return Sender()


@method("has_a_bug")
class HasABug(_Faulty):
    """Raises what perfkit does not know."""

    @staticmethod
    def connect(folder, options):
        class Sender:
            def send(self, encoded, flags=0):
                raise KeyError("a bug of its own")

            def close(self):
                pass

        return Sender()


@method("corrupts")
class Corrupts(_Faulty):
    """The receiver gets other bytes than were sent."""

    @staticmethod
    def serve(host):
        pass

    @staticmethod
    def connect(folder, options):
        return _wrong_from(Uds.connect(folder, options))


@method("corrupts_second")
class CorruptsSecond(_Faulty):
    """The first connection is right, those beside it are not."""

    connections = 0

    @staticmethod
    def connect(folder, options):
        CorruptsSecond.connections += 1
        sender = Uds.connect(folder, options)
        return sender if CorruptsSecond.connections == 1 else _wrong_from(sender)


@method("corrupts_in_place")
class CorruptsInPlace(_Faulty):
    """Right when it copies, wrong in place."""

    @staticmethod
    def serve(host):
        ShmPool.serve(host)

    @staticmethod
    def connect(folder, options):
        sender = ShmPool.connect(folder, options)

        class Sender:
            send, lease, release, close = sender.send, sender.lease, sender.release, sender.close

            @staticmethod
            def send_block(block, wire_bytes, meta=b"", flags=0):
                return sender.send_block(block, wire_bytes, meta, flags) ^ 1

        return Sender()


def _wrong_from(sender):
    class Sender:
        close = sender.close

        @staticmethod
        def send(encoded, flags=0):
            return sender.send(encoded, flags) ^ 1

    return Sender()
