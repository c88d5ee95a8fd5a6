"""Whose address it is, whatever an attacker writes into X-Forwarded-For."""

import ipaddress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.config.networks import Network, parse_networks
from common.web.peer_address import Address, peer_address
from tests.support.examples import examples


class FakeTransport:
    def __init__(self, peername: object) -> None:
        self.peername = peername

    def get_extra_info(self, name: str) -> object:
        assert name == "peername"
        return self.peername


def transport(address: object) -> Any:
    return FakeTransport((str(address), 4711))


NETWORKS = parse_networks("10.0.0.0/8, 192.0.2.7, fd00::/8")
addresses = st.ip_addresses()
trusted_addresses = st.one_of(
    st.ip_addresses(network="10.0.0.0/8"),
    st.just(ipaddress.ip_address("192.0.2.7")),
    st.ip_addresses(network="fd00::/8"),
)
# What an attacker may write: anything, and what looks like proxies most of all.
spoofed = st.one_of(
    st.text(max_size=60),
    st.lists(st.one_of(addresses, trusted_addresses), max_size=6).map(
        lambda found: ", ".join(map(str, found))
    ),
)


def is_trusted(address: Address, networks: tuple[Network, ...] = NETWORKS) -> bool:
    return any(address in network for network in networks)


def is_mapped(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


@given(addresses, st.lists(trusted_addresses, min_size=1, max_size=4), spoofed)
@examples(500)
def test_what_a_client_writes_never_counts(
    client: Address, proxies: list[Address], written: str
) -> None:
    assume(not is_trusted(client) and not is_mapped(client))
    # Each proxy adds whom it saw: the first one the client, the next one the proxy before it.
    seen = [client, *proxies[:-1]]
    header = ",".join([written, *map(str, seen)]) if written else ", ".join(map(str, seen))
    assert peer_address(transport(proxies[-1]), header, NETWORKS) == str(client)


@given(addresses, st.none() | spoofed)
@examples(300)
def test_who_is_no_proxy_is_not_believed(client: Address, written: str | None) -> None:
    assume(not is_trusted(client) and not is_mapped(client))
    assert peer_address(transport(client), written, NETWORKS) == str(client)
    assert peer_address(transport(client), written) == str(client)


@given(trusted_addresses, spoofed)
@examples(300)
def test_whatever_comes_it_is_an_address(proxy: Address, written: str) -> None:
    ipaddress.ip_address(peer_address(transport(proxy), written, NETWORKS))


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, "10.0.0.1"),
        ("", "10.0.0.1"),
        ("203.0.113.9", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.9.9.9", "203.0.113.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # What a proxy does not say ends the search at that proxy.
        ("203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.9, unknown", "10.0.0.1"),
        ("203.0.113.9,", "10.0.0.1"),
        ("203.0.113.9;", "10.0.0.1"),
    ],
)
def test_examples(header: str | None, found: str) -> None:
    assert peer_address(transport("10.0.0.1"), header, NETWORKS) == found


def test_a_peer_of_both_families_is_the_same() -> None:
    assert peer_address(transport("::ffff:10.0.0.1"), "203.0.113.9", NETWORKS) == "203.0.113.9"
    assert peer_address(transport("::ffff:203.0.113.1"), "1.1.1.1", NETWORKS) == "203.0.113.1"
    assert peer_address(transport("fe80::1%eth0"), None, NETWORKS) == "fe80::1"


@pytest.mark.parametrize("peername", [None, "", "/run/roomcast.sock", ()])
def test_a_connection_without_an_address_has_none(peername: object) -> None:
    nobody: Any = FakeTransport(peername)
    assert peer_address(nobody, "203.0.113.9", NETWORKS) == ""


@pytest.mark.parametrize("text", ["10.0.0.1/8", "haproxy", "10.0.0.0/33", "1.2.3", "10.0.0.1;::1"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_networks(text)


@given(st.lists(st.one_of(addresses, trusted_addresses), max_size=5))
@examples(100)
def test_networks_are_read_as_they_are_written(found: list[Address]) -> None:
    text = " , ".join(map(str, found))
    assert [str(one.network_address) for one in parse_networks(text)] == list(map(str, found))
