"""The API document and its page (`server/openapi/docs_routes.py`)."""

import json
import re
import urllib.request

import pytest

from tests.support.processes.stack import Stack


def fetch(stack: Stack, path: str) -> tuple[str, bytes]:
    with urllib.request.urlopen(f"{stack.http_urls[0]}{path}", timeout=30) as answer:
        assert answer.status == 200
        return answer.headers["Content-Type"], answer.read()


def test_the_page_needs_nothing_from_elsewhere(stack: Stack) -> None:
    kind, page = fetch(stack, "/docs")
    assert kind.startswith("text/html")
    assert not re.search(rb"https?://|//[a-z]", page.replace(b"<!doctype", b""))
    links = re.findall(rb'(?:src|href|url)(?:=|: )"([^"]+)"', page)
    local = [link.decode() for link in links if not link.startswith(b"data:")]
    assert {"/openapi.json", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"} == set(local)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/docs/swagger-ui.css", "text/css"), ("/docs/swagger-ui-bundle.js", "text/javascript")],
)
def test_its_files_are_served_here(stack: Stack, path: str, kind: str) -> None:
    found, data = fetch(stack, path)
    assert found.startswith(kind)
    assert len(data) > 10_000
    # A stylesheet that imports is one that needs the network.
    if kind == "text/css":
        assert not re.search(rb"@import|url\(\s*['\"]?(https?:)?//", data)


@pytest.mark.parametrize(
    "name", ["index.html", "..%2f..%2fpyproject.toml", "%2e%2e/app.py", "swagger-ui.css/"]
)
def test_no_other_file_is(stack: Stack, name: str) -> None:
    assert stack.get("server-1", f"/docs/{name}")[0] == 404


def test_the_document_is_json_and_names_every_answer(stack: Stack) -> None:
    kind, text = fetch(stack, "/openapi.json")
    assert kind.startswith("application/json")
    document = json.loads(text)
    assert document["openapi"].startswith("3.1")
    assert {"202", "400", "409", "413", "415", "422", "503"} <= set(
        document["paths"]["/notify"]["post"]["responses"]
    )
