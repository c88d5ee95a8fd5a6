"""`python -m tools.audit` against a vulnerability service of the test's own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tools.audit import audit, findings

LOCK = "".join(f"{name} \\\n    --hash=sha256:{'0' * 64}\n" for name in ("good==1.0", "bad==2.0"))


class Service(BaseHTTPRequestHandler):
    """Answers as api.osv.dev does."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known: dict[str, Any] = {}
        if asked == {"package": {"name": "bad", "ecosystem": "PyPI"}, "version": "2.0"}:
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}]
            affected = [{"package": asked["package"], "ranges": ranges}]
            known = {"vulns": [{"id": "OSV-1", "summary": "bad", "affected": affected}]}
        body = json.dumps(known).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


def options(url: str, folder: Path) -> list[str]:
    return ["-s", "osv", "--osv-url", url, "--cache-dir", str(folder / "cache"), "--timeout", "5"]


def test_a_known_vulnerability_is_found(service: str, tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(LOCK)
    found = audit([str(lock)], *options(service, tmp_path))
    assert found.audited == 2
    assert found.vulnerable == ("bad 2.0: OSV-1, fixed in 2.1",)
    assert not found.nothing_audited


def test_a_service_that_does_not_answer_is_no_audit(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(LOCK)
    found = audit([str(lock)], *options("http://127.0.0.1:1/v1/query", tmp_path))
    assert found.nothing_audited
    assert found.failure


def test_a_service_that_knows_no_package_is_no_audit() -> None:
    found = findings([{"name": "a", "skip_reason": "not found"}])
    assert found.nothing_audited
    assert found.unknown == ("a",)
