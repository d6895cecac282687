"""Leaving fields out of a message and putting them back gives the same message, and touches nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import TransferError
from perfkit.grpc.fields import SINGLE, Search, copy_without, put_back


def large(size: int) -> bool:
    return size >= 1000


def there_and_back(message: Any) -> tuple[Any, Search]:
    """The message after its large fields were left out and put back."""
    search = Search(message, large)
    copy = type(message).FromString(copy_without(search, search.found).SerializeToString())
    for found in search.found:
        put_back(copy, found.path, found.body)
    return copy, search


def test_every_large_field_is_left_out_wherever_it_stands(make_blob: Callable[..., Any]) -> None:
    blob = make_blob(5000)
    before = blob.SerializeToString(deterministic=True)
    search = Search(blob, large)
    copy = copy_without(search, search.found)
    assert len(search.found) == 9
    assert copy.ByteSize() < 5000 + 200  # the map's value stays
    assert blob.SerializeToString(deterministic=True) == before
    whole, _ = there_and_back(blob)
    assert whole == blob
    assert whole.SerializeToString(deterministic=True) == before


def test_presence_survives(service: ModuleType) -> None:
    blob = service.Blob(left=b"l" * 2000, maybe=b"m" * 2000)
    blob.nothing.SetInParent()
    blob.deeper.inner.data = b"x" * 2000
    search = Search(blob, large)
    copy = copy_without(search, search.found)
    assert copy.WhichOneof("choice") == "left"
    assert all(copy.HasField(name) for name in ("maybe", "nothing", "deeper"))
    assert there_and_back(blob)[0] == blob


def test_a_message_without_large_fields_has_nothing_to_leave_out(service: ModuleType) -> None:
    search = Search(service.Blob(data=b"x" * 999, many=[b"y"] * 5), large)
    assert (search.found, search.seen_bytes) == ([], 1004)


def test_only_some_of_the_fields_can_be_left_out(make_blob: Callable[..., Any]) -> None:
    blob = make_blob(2000)
    search = Search(blob, large)
    for taken in ([one] for one in search.found):
        copy = copy_without(search, taken)
        put_back(copy, taken[0].path, taken[0].body)
        assert copy == blob


def test_a_message_that_goes_on_and_on_is_not_followed_for_ever(service: ModuleType) -> None:
    blob = service.Blob(items=[service.Inner(data=b"x" * 1000) for _ in range(2000)])
    copy, search = there_and_back(blob)
    assert 900 < len(search.found) < 1000
    assert copy == blob


def test_fields_that_the_class_does_not_know_are_noticed(service: ModuleType) -> None:
    newer = service.Blob(data=b"x" * 2000).SerializeToString() + b"\xfa\x06\x01?"
    assert Search(service.Blob.FromString(newer), large).has_unknown
    beside = service.Blob(data=b"x" * 2000)
    beside.nothing.MergeFromString(b"\xfa\x06\x01?")
    assert not Search(beside, large).has_unknown  # not on the way to a large field: it is copied whole
    assert there_and_back(beside)[0].SerializeToString() == beside.SerializeToString()


def test_required_fields_and_extensions_of_proto2_are_kept() -> None:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="test_old.proto", package="old", syntax="proto2")
    old = file.message_type.add(name="Old")
    old.field.add(name="data", number=1, type=field.TYPE_BYTES, label=field.LABEL_REQUIRED)
    old.field.add(name="level", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL, default_value="5")
    old.extension_range.add(start=100, end=200)
    for name, number, label in (("extra", 100, field.LABEL_OPTIONAL), ("extras", 101, field.LABEL_REPEATED)):
        file.extension.add(name=name, number=number, type=field.TYPE_INT32, label=label, extendee=".old.Old")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("old.Old"))(data=b"x" * 2000, level=5)
    message.Extensions[pool.FindExtensionByName("old.extra")] = 7
    message.Extensions[pool.FindExtensionByName("old.extras")].extend([8, 9])
    search = Search(message, large)
    copy = copy_without(search, search.found)
    assert copy.IsInitialized()
    assert copy.HasField("level")
    put_back(copy, search.found[0].path, search.found[0].body)
    assert copy.SerializeToString() == message.SerializeToString()


@pytest.mark.parametrize(
    "path",
    [
        ((99, SINGLE),),
        ((3, SINGLE),),
        ((1, 0),),
        ((2, SINGLE),),
        ((2, 7),),
        ((5, 0), (1, SINGLE)),
        ((4, 0), (1, SINGLE)),
        ((1, SINGLE), (1, SINGLE)),
        ((6, SINGLE),),
        (),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(service: ModuleType, path: Any) -> None:
    with pytest.raises(TransferError):
        put_back(service.Blob(many=[b""]), path, b"x")


sizes = st.sampled_from([0, 1, 999, 1000, 1001, 3000])
bodies = st.builds(lambda size, fill: bytes([fill]) * size, sizes, st.integers(0, 255))
inner = st.fixed_dictionaries({}, optional={"data": bodies, "number": st.integers(-5, 5), "words": st.lists(st.text())})
blobs = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "data": bodies,
            "many": st.lists(bodies, max_size=4),
            "name": st.text(max_size=5),
            "inner": inner,
            "items": st.lists(inner, max_size=3),
            "table": st.dictionaries(st.text(max_size=3), bodies, max_size=2),
            "left": bodies,
            "maybe": bodies,
        },
    ),
    lambda deeper: st.fixed_dictionaries({}, optional={"deeper": deeper, "data": bodies, "right": st.text(max_size=3)}),
    max_leaves=3,
)


@settings(max_examples=150, deadline=None)
@given(fields=blobs)
def test_any_message_comes_back_as_it_was(service: ModuleType, fields: dict[str, Any]) -> None:
    blob = service.Blob(**fields)
    before = blob.SerializeToString(deterministic=True)
    if Search(blob, large).found:
        copy, search = there_and_back(blob)
        assert copy.SerializeToString(deterministic=True) == before
        assert all(large(len(found.body)) for found in search.found)
    assert blob.SerializeToString(deterministic=True) == before
