"""How each process says that it lives (`server/web/ops_routes.py`)."""

import urllib.request

import pytest

from tests.support.processes.stack import Stack


@pytest.mark.parametrize(
    ("process", "path", "kind"),
    [
        ("server-1", "/healthz", "application/json"),
        ("server-1", "/readyz", "application/json"),
        ("server-1", "/metrics", "text/plain"),
        ("gateway-1", "/healthz", "application/json"),
        ("gateway-1", "/metrics", "text/plain"),
        ("worker-1", "/readyz", "application/json"),
    ],
)
def test_every_process_tells_how_it_is(stack: Stack, process: str, path: str, kind: str) -> None:
    with urllib.request.urlopen(f"{stack.url(process)}{path}", timeout=30) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(kind)
