"""Policies of a shop: functions that name a method where measurement alone does not decide.

perfkit asks them while it compiles a plan, at two sizes per doubling and at their own breakpoints; never on the way of
a payload. So they may be as slow as they are clear, and must depend on their arguments alone: no clock, no network, no
random numbers.
"""

from shop_policies.batch import least_processor_time
from shop_policies.large import large_beside_grpc
from shop_policies.tiny import tiny_over_a_socket

__all__ = ["large_beside_grpc", "least_processor_time", "tiny_over_a_socket"]
