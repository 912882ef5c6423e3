"""Frames: what is written is read back, and whatever else arrives is named for what it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.wire.ocpp.frames import Call, CallError, CallResult, CallResultError, MalformedFrame, Send, decode, encode

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=36)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=10), values, max_size=4)
CODES = ("RpcFrameworkError", "MessageTypeNotSupported", "FormatViolation")
frames = st.one_of(
    st.builds(Call, names, names, payloads),
    st.builds(CallResult, names, payloads),
    st.builds(CallError, names, names, st.text(max_size=255), payloads),
    st.builds(CallResultError, names, names, st.text(max_size=255), payloads),
    st.builds(Send, names, names, payloads),
)


@given(frames)
def test_a_frame_is_read_back_as_it_was_written(frame: object) -> None:
    text = encode(frame)  # type: ignore[arg-type]
    assert decode(text) == frame
    assert decode(text.encode()) == frame
    assert json.loads(text)[0] in (2, 3, 4, 5, 6)  # an independent reader sees an OCPP-J array


@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=60), values.map(json.dumps), st.lists(values).map(json.dumps))
)
def test_whatever_arrives_is_a_frame_or_a_malformed_frame(raw: str | bytes) -> None:
    try:
        frame = decode(raw)
    except MalformedFrame as fault:
        assert fault.code in CODES  # noqa: PT017 - either outcome is right, each has its own claim
    else:
        assert isinstance(json.loads(raw), list)
        assert frame.unique_id


@pytest.mark.parametrize(
    ("raw", "unique_id", "code", "message_type"),
    [
        ("no json", None, "RpcFrameworkError", None),
        (b"\xff\xfe", None, "RpcFrameworkError", None),
        ("{}", None, "RpcFrameworkError", None),
        ("[]", None, "RpcFrameworkError", None),
        ('[2,17,"Heartbeat",{}]', None, "RpcFrameworkError", 2),
        ('[2,"a","Heartbeat"]', "a", "RpcFrameworkError", 2),
        ('[2,"a","Heartbeat",[]]', "a", "FormatViolation", 2),
        ('[2,"a",5,{}]', "a", "RpcFrameworkError", 2),
        ('[7,"a",{}]', "a", "MessageTypeNotSupported", None),
        ('[true,"a",{}]', "a", "MessageTypeNotSupported", None),
        ('["2","a","Heartbeat",{}]', "a", "MessageTypeNotSupported", None),
        ('[3,"a"]', "a", "FormatViolation", 3),
        ('[3,"a",[]]', "a", "FormatViolation", 3),
        ('[4,"a"]', "a", "FormatViolation", 4),
        ('[4,"a",9]', "a", "FormatViolation", 4),
        ('[2,"a","Heartbeat",{"x":NaN}]', None, "RpcFrameworkError", None),
    ],
)
def test_a_malformed_frame_says_what_is_wrong_and_whose_it_is(
    raw: str | bytes, unique_id: str | None, code: str, message_type: int | None
) -> None:
    with pytest.raises(MalformedFrame) as caught:
        decode(raw)
    assert (caught.value.unique_id, caught.value.code, caught.value.message_type) == (unique_id, code, message_type)


def test_an_error_without_description_and_details_is_still_an_error() -> None:
    assert decode('[4,"a","InternalError"]') == CallError("a", "InternalError", "", {})


def test_a_description_is_cut_to_what_the_specification_allows() -> None:
    assert len(json.loads(encode(CallError("a", "InternalError", "x" * 999)))[3]) == 255
