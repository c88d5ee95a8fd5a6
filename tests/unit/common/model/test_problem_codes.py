import re
from http import HTTPStatus

import pytest

from common.model.problem_codes import ProblemCode


@pytest.mark.parametrize("code", list(ProblemCode))
def test_a_code_is_words_and_its_meaning_a_sentence(code: ProblemCode) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert code.meaning[0].isupper()
    assert code.meaning.endswith(".")
    assert "|" not in code.meaning
    assert code.status >= HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("code", list(ProblemCode))
def test_who_is_to_try_again_is_told_by_the_status(code: ProblemCode) -> None:
    waits = code.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    if code is ProblemCode.HISTORY_OFF:
        # It stays off until somebody configures a database.
        assert not code.retry
    else:
        assert code.retry == (waits or code is ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT)


def test_a_code_is_its_text() -> None:
    assert f"{ProblemCode.LANE_FULL}" == "lane-full" == ProblemCode.LANE_FULL.value
