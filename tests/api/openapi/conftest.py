"""A stack that requires credentials, for the clients that are generated from the document."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.app import ROUTES
from server.openapi.document import openapi_document
from tests.support.credentials import AuthStack


@pytest.fixture(scope="session")
def required(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthStack]:
    folder = tmp_path_factory.mktemp("openapi")
    with AuthStack(
        folder, gateways=0, history=1, AUTH_MODE="required", FAILED_ATTEMPTS_PER_MINUTE="0"
    ) as stack:
        yield stack


@pytest.fixture(scope="session")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document as a file."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(json.dumps(openapi_document(ROUTES)))
    return path
