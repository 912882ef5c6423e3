"""Discovery: a question and an answer of 10 and 28 bytes, and nothing else is believed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso15118.shared.messages.sdp import SDPRequest, SDPResponse, Security, Transport

from twin.station.iso15118.door import DYNAMIC_PORTS
from twin.station.iso15118.sdp import Found, discover, is_request, link_local_address, read_response, request, response

pytestmark = pytest.mark.anyio

link_locals = st.integers(0, 2**64 - 1).map(lambda low: str(ipaddress.IPv6Address((0xFE80 << 112) + low)))
founds = st.builds(Found, link_locals, st.sampled_from(DYNAMIC_PORTS), st.booleans())


@given(founds)
def test_an_answer_is_read_as_it_was_written_and_as_the_package_writes_it(found: Found) -> None:
    datagram = response(found)
    assert read_response(datagram, is_tls=found.is_tls) == found
    theirs = SDPResponse.from_payload(datagram[8:])
    assert (theirs.port, theirs.security is Security.TLS) == (found.port, found.is_tls)
    assert str(ipaddress.IPv6Address(bytes(theirs.ip_address))) == found.address
    assert theirs.to_payload() == datagram[8:]


@pytest.mark.parametrize("is_tls", [True, False])
def test_a_question_is_the_packages(is_tls: bool) -> None:
    theirs = SDPRequest(Security.TLS if is_tls else Security.NO_TLS, Transport.TCP)
    assert request(is_tls=is_tls) == b"\x01\xfe\x90\x00\x00\x00\x00\x02" + theirs.to_payload()
    assert is_request(request(is_tls=is_tls))


@given(founds.filter(lambda found: not found.is_tls))
def test_a_car_that_asks_for_tls_follows_no_answer_without_it(found: Found) -> None:
    assert "without TLS" in str(read_response(response(found), is_tls=True))


@given(st.ip_addresses(v=6).filter(lambda address: not address.is_link_local), st.integers(1, 65535))
def test_an_answer_that_leads_off_the_link_is_not_followed(address: ipaddress.IPv6Address, port: int) -> None:
    said = read_response(response(Found(str(address), port, is_tls=False)), is_tls=False)
    assert "expected a link-local address" in str(said)


@given(founds, st.data())
def test_an_answer_of_another_shape_is_none(found: Found, data: st.DataObject) -> None:
    right = response(found)
    wrong = data.draw(st.one_of(
        st.binary(max_size=80), st.integers(0, 27).map(lambda end: right[:end]), st.just(right + b"\0"),
        st.integers(0, 7).map(lambda k: right[:k] + bytes([right[k] ^ 0xFF]) + right[k + 1:]),
    ))
    assert isinstance(read_response(wrong, is_tls=False), str) or wrong[:8] == right[:8]
    assert not is_request(wrong) or wrong in {request(is_tls=True), request(is_tls=False)}


@given(st.binary(max_size=40))
def test_a_datagram_that_is_no_question_is_not_answered(datagram: bytes) -> None:
    assert is_request(datagram) == (datagram in {request(is_tls=True), request(is_tls=False)})


async def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(OSError, match="interface nowhere0"):
        await discover("nowhere0", is_tls=False)
    with pytest.raises(OSError, match="interface nowhere0"):
        await link_local_address("nowhere0")
