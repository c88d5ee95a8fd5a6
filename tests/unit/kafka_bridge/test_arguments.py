"""Command line of the Kafka bridge."""

import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model.timestamps import format_time, unix_ms
from kafka_bridge.arguments import read_arguments
from tests.support.examples import examples


def since(*words: str) -> int:
    """The time to restore from, as the bridge understands it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["kafka_bridge", "restore", *words])
        found: int = read_arguments().since
        return found


def test_without_a_command_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["kafka_bridge"])
    assert read_arguments().command is None


@examples(100)
@given(st.integers(0, 253_402_300_799_999))
def test_a_time_of_ours_is_taken_to_the_millisecond(milliseconds: int) -> None:
    # Through a float, a millisecond may be lost, never won.
    assert since("--since", format_time(milliseconds)) in (milliseconds, milliseconds - 1)


def test_a_time_is_the_same_in_every_zone() -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    for hours in (-11, 0, 5.5, 14):
        zone = timezone(timedelta(hours=hours))
        assert since("--since", noon.astimezone(zone).isoformat()) == unix_ms(noon)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--since"),
        (["--since"], "expected one argument"),
        (["--since", "2026-11-21T04:00:00"], "needs a zone"),
        (["--since", "2026-11-21"], "needs a zone"),
        (["--since", "yesterday"], "not a time"),
        (["--since", "1795233600123"], "not a time"),
        (["--since", "0001-01-01T00:00:00+14:00"], "not a time"),
        (["--since", "1969-12-31T23:59:59Z"], "before 1970"),
    ],
)
def test_another_time_is_refused_with_the_reason(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        since(*words)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err
