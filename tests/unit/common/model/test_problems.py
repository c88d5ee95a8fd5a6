import json
from http import HTTPStatus
from typing import Any, cast, get_args

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core.core_schema import ErrorType

from common.model.problem_codes import ProblemCode
from common.model.problems import ERRORS_MAX, PROBLEM_TYPE, FieldError, Problem, field_errors


def test_a_problem_is_an_rfc_9457_document() -> None:
    problem = Problem(ProblemCode.INVALID, "déjà", [FieldError("/a", "is wrong")])
    assert json.loads(problem.body()) == {
        "type": "urn:roomcast:problem:invalid",
        "title": HTTPStatus.UNPROCESSABLE_ENTITY.phrase,
        "status": 422,
        "code": "invalid",
        "detail": "déjà",
        "errors": [{"pointer": "/a", "detail": "is wrong"}],
    }
    assert problem.response_headers() == {"Content-Type": PROBLEM_TYPE}


def test_a_body_is_ascii_whatever_it_quotes() -> None:
    problem = Problem(ProblemCode.MALFORMED_JSON, "lone \ud800", [FieldError("/\udfff", "é")])
    assert problem.body().isascii()


def test_errors_are_left_out_where_there_are_none() -> None:
    assert "errors" not in json.loads(Problem(ProblemCode.NOT_FOUND, "y").body())


def test_retry_after_and_other_headers_are_sent() -> None:
    problem = Problem(ProblemCode.REDIS_AWAY, "y", retry_after_s=3, headers={"Allow": "GET"})
    assert problem.response_headers() == {
        "Content-Type": PROBLEM_TYPE, "Allow": "GET", "Retry-After": "3",
    }  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


@pytest.mark.parametrize(("faults", "listed"), [(ERRORS_MAX, ERRORS_MAX), (ERRORS_MAX + 1, 1)])
def test_no_more_faults_are_listed_than_can_be_at_once(faults: int, listed: int) -> None:
    with pytest.raises(ValidationError) as caught:
        _Strict.model_validate({f"f{n}": n for n in range(faults)})
    found = field_errors(caught.value)
    assert len(found) == listed
    assert (found[0].pointer == "") == (listed == 1)


_LIBRARY_WORDS = ("Input", "Value error", "should", "pydantic", "Field required", "{", "Extra")
_CONTEXT = {
    "expected": "'a' or 'b'", "min_length": 2, "max_length": 3, "ge": 1, "gt": 1, "le": 1, "lt": 1,
}  # fmt: skip


@pytest.mark.parametrize("kind", get_args(ErrorType))
@pytest.mark.parametrize("place", [(), ("email",), ("private", "target"), (3, "room", "x")])
def test_no_fault_is_told_in_the_words_of_the_library(
    kind: str, place: tuple[str | int, ...]
) -> None:
    class Refused:
        """A ValidationError of one fault, of any kind there may be."""

        def error_count(self) -> int:
            return 1

        def errors(self, **_: bool) -> list[dict[str, Any]]:
            said = "Input should be what pydantic wants"
            return [{"type": kind, "loc": place, "msg": said, "ctx": _CONTEXT}]

    (error,) = field_errors(cast(ValidationError, Refused()))
    assert error.detail
    assert not any(word in error.detail for word in _LIBRARY_WORDS)


def test_a_name_without_end_is_not_sent_back_whole() -> None:
    with pytest.raises(ValidationError) as caught:
        _Strict.model_validate({"x" * 100_000: 1})
    assert len(field_errors(caught.value)[0].pointer) < 300
