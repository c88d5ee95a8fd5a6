"""Networks and hosts in settings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.networks import Network, is_loopback, parse_networks
from tests.support.examples import examples

networks = st.one_of(
    st.ip_addresses().map(str), st.sampled_from(["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "::/0"])
)


@examples(50)
@given(st.lists(networks, max_size=4), st.sampled_from([",", ", ", " ,\t", ",,"]))
def test_a_list_comes_back_from_its_text_in_order(texts: list[str], comma: str) -> None:
    found = parse_networks(comma.join(texts))
    assert [str(network).removesuffix("/32").removesuffix("/128") for network in found] == texts


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_an_empty_setting_names_none(text: str) -> None:
    none: tuple[Network, ...] = ()
    assert parse_networks(text) == none


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0", "10.0.0.0/33", "example.com", "10.0.0.5 10.0.0.6", "::g"]
)
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        parse_networks(f"192.0.2.0/24, {text}")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_only_this_machine_reaches_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "192.168.0.1", "", "localhost.example.com", "example.com"]
)
def test_others_reach_every_other_host(host: str) -> None:
    assert not is_loopback(host)
