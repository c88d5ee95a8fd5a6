import pytest

from ws_gateway.protocol.close_codes import REASONS, CloseCode
from ws_gateway.protocol.frames import close_frame


@pytest.mark.parametrize("code", list(CloseCode))
def test_every_code_has_a_reason_that_fits_a_close_frame(code: CloseCode) -> None:
    assert REASONS[code]
    assert len(close_frame(code)) <= 127


@pytest.mark.parametrize("code", [code for code in CloseCode if code >= 4000])
def test_codes_of_our_own_say_by_their_number_whether_to_come_back(code: CloseCode) -> None:
    assert code.come_back == (code < 4500)
    assert code <= 4999


def test_of_the_standard_codes_only_a_restart_invites_back() -> None:
    assert {code for code in CloseCode if code < 4000 and code.come_back} == {1012}
