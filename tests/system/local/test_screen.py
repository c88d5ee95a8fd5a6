import pytest

from common.config.settings import Settings
from deploy.local.console.first_screen import base_url, first_screen, readiness_urls


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("box.example", "http://box.example:80"),
    ],
)
def test_urls_can_be_opened_on_this_machine(host: str, url: str) -> None:
    assert base_url(host, 80) == url


def test_the_first_screen_tells_the_urls_that_were_chosen() -> None:
    settings = Settings(host="127.0.0.1", port=1001, ws_port=1002, worker_port=1003)
    screen = first_screen(settings, "a Redis", "the.conf")
    for expected in (
        "http://127.0.0.1:1001/notify",
        "http://127.0.0.1:1001/docs",
        "ws://127.0.0.1:1002/",
        "http://127.0.0.1:1003/metrics",
        "a Redis",
        "-c the.conf",
    ):
        assert expected in screen
    assert readiness_urls(settings)["gateway"] == "http://127.0.0.1:1002/readyz"
