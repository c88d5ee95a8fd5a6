"""Handshakes in a second."""

from ws_gateway.admission.handshake_rates import ADDRESSES_MAX, HandshakeRates


def test_each_address_has_its_own_and_all_have_a_total() -> None:
    rates = HandshakeRates(2, 5)
    found = [rates.refusal(address, 10.0) for address in "aaabbbccc"]
    assert found == [
        None, None, "address-too-fast",
        None, None, "address-too-fast",
        None, "too-many-handshakes", "address-too-fast",
    ]  # fmt: skip
    assert rates.refusal("a", 10.9) == "address-too-fast"
    assert rates.refusal("a", 11.0) is None


def test_what_one_address_is_refused_is_not_taken_from_the_others() -> None:
    rates = HandshakeRates(1, 3)
    for _ in range(100):
        rates.refusal("a", 1.0)
    assert [rates.refusal(address, 1.0) for address in "bcd"] == [
        None, None, "too-many-handshakes"
    ]  # fmt: skip


def test_0_is_any_number() -> None:
    rates = HandshakeRates(0, 0)
    assert {rates.refusal("a", 1.0) for _ in range(10_000)} == {None}
    assert not rates.by_address


def test_addresses_that_are_counted_are_bounded() -> None:
    rates = HandshakeRates(1, 0)
    for number in range(ADDRESSES_MAX):
        assert rates.refusal(str(number), 1.0) is None
    assert rates.refusal("0", 1.0) == "address-too-fast"
    for _ in range(2):
        assert rates.refusal("one more", 1.0) is None
