"""The running server against its own `/openapi.json`, with data that schemathesis makes."""

import copy
import json
import re
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from common.model.problem_codes import ProblemCode
from common.model.problems import PROBLEM_TYPE
from server.app import ROUTES
from server.openapi.document import openapi_document
from tests.support.examples import count
from tests.support.processes.stack import Stack

pytestmark = pytest.mark.alone
OF_ANY_REQUEST = {
    ProblemCode.METHOD_NOT_ALLOWED,
    ProblemCode.NOT_FOUND,
    ProblemCode.HEAD_TOO_LARGE,
    ProblemCode.REQUEST_TIMEOUT,
    ProblemCode.UNSUPPORTED_CONTENT_ENCODING,
}
DECLARED = {(route.method, route.path): {*route.refusals, *OF_ANY_REQUEST} for route in ROUTES}


def problem_code_conformance(_: Any, response: Any, case: Any) -> None:
    """Look whether a refusal has a code that its route declares."""
    if response.headers.get("content-type") == [PROBLEM_TYPE]:
        route = case.operation.method.upper(), case.operation.path
        code = response.json()["code"]
        assert code in DECLARED[route], (route, code)


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
    problem_code_conformance,
]


VALID_KEY = re.compile("[!-~]([ -~]{0,253}[!-~])?")


def _with_content() -> dict[str, Any]:
    """The document, and that a notification needs a message or data, which it says in words.

    Generators of clients lose all fields of an object whose schema says so.
    """
    document = copy.deepcopy(openapi_document(ROUTES))
    for kind in ("Private", "Room", "Broadcast"):
        document["components"]["schemas"][f"{kind}Notification"]["anyOf"] = [
            {"required": ["message"], "properties": {"message": {"type": "string"}}},
            {"required": ["data"], "properties": {"data": {"type": "object"}}},
        ]
    return document


schema = schemathesis.openapi.from_dict(_with_content())


@pytest.fixture(scope="module")
def with_history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server with a database; nobody publishes, so what is sent waits."""
    folder = tmp_path_factory.mktemp("contract")
    with Stack(folder, workers=0, gateways=0, history=1, LANE_MAX_JOBS="10000000") as stack:
        yield stack


def test_what_is_served_is_the_document_that_is_tested(stack: Stack) -> None:
    with urllib.request.urlopen(f"{stack.http_urls[0]}/openapi.json", timeout=30) as answer:
        assert json.load(answer) == openapi_document(ROUTES)


@schema.parametrize()
@settings(
    max_examples=count(30),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_what_the_document_says(case: Any, with_history: Stack) -> None:
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and VALID_KEY.fullmatch(key):
        # Of one key and two bodies the second is refused, as it should be.
        case.headers["Idempotency-Key"] = f"{key[:200]}{uuid.uuid4()}"
    for one in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(one, dict) and isinstance(one.get("expiresAt"), str):
            # No schema says what is in the future.
            one["expiresAt"] = re.sub(r"^\d{4}-02-29", "3000-02-28", one["expiresAt"])
            one["expiresAt"] = re.sub(r"^\d{4}", "3000", one["expiresAt"])
    checks = CHECKS
    if case.operation.path in ("/clients/me/token-keys", "/tickets"):
        # No schema says which numbers are a key, nor that a key names whom its ticket is for.
        checks = [check for check in CHECKS if check is not positive_data_acceptance]
    case.call_and_validate(base_url=with_history.http_urls[0], checks=checks)
