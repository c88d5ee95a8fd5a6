import re
from pathlib import Path

import pytest

from common.config.settings import Settings
from common.jobs.accept_script import (
    ACCEPTED,
    AcceptScript,
    Decision,
    UnknownVerdictError,
    Verdict,
    read_decision,
    read_decisions,
)
from common.redis.shards import Shards

SCRIPTS = Path(__file__).parents[4] / "common" / "redis" / "lua" / "queue"
WITH_VERDICTS = ("accept.lib", "admit", "requeue")


def test_the_scripts_have_these_verdicts_and_no_others() -> None:
    code = "\n".join(
        line.partition("--")[0]
        for name in WITH_VERDICTS
        for line in (SCRIPTS / f"{name}.lua").read_text().splitlines()
    )
    # A verdict is a table that begins with its name; other tables have named fields.
    assert set(re.findall(r"\{'([a-z-]+)'[,}]", code)) == {str(verdict) for verdict in Verdict}


@pytest.mark.parametrize("verdict", Verdict)
def test_each_verdict_is_read_with_its_detail(verdict: Verdict) -> None:
    name = str(verdict).encode()
    assert read_decision([name]) == Decision(verdict)
    assert read_decision([name, "é".encode()]) == Decision(verdict, "é")
    assert read_decision([name, b"\xff"]).detail == "\N{REPLACEMENT CHARACTER}"


def test_what_is_accepted_is_always_the_same_object() -> None:
    assert read_decision([b"ok"]) is ACCEPTED


@pytest.mark.parametrize("reply", [[], [b""], [b"OK"], [b"maybe", b"detail"]])
def test_what_is_no_verdict_is_an_error_and_never_a_verdict(reply: list[bytes]) -> None:
    with pytest.raises(UnknownVerdictError):
        read_decision(reply)
    with pytest.raises(UnknownVerdictError):
        read_decisions([[b"ok"], reply])


@pytest.mark.parametrize(("room", "last"), [("", ""), (0, 0), (7, 7)])
def test_the_head_of_the_arguments_is_what_the_library_reads(
    room: int | str, last: int | str
) -> None:
    keys = Shards().only
    script = AcceptScript("requeue", keys, Settings(lane_max_jobs=5, idempotency_ttl_s=60))
    library = (SCRIPTS / "accept.lib.lua").read_text()
    # `local a, b = ARGV[1], tonumber(ARGV[2])`: which name has which argument.
    named: dict[str, int] = {}
    for names, values in re.findall(r"^local ([\w, ]+) = (.*ARGV.*)$", library, re.MULTILINE):
        numbers = [int(number) for number in re.findall(r"ARGV\[(\d+)\]", values)]
        named |= dict(zip(names.split(", "), numbers, strict=True))
    expected = {
        "jobs_prefix": keys.jobs_prefix,
        "ready_prefix": keys.ready_prefix,
        "active_prefix": keys.active_prefix,
        "accepted_prefix": keys.accepted_prefix,
        "lane_max": 5,
        "remember_s": 60,
        "backlog": keys.backlog,
        "room": last,
    }
    head = script.head(room)
    assert {name: head[number - 1] for name, number in named.items()} == expected
    assert script.keys == (keys.waiting,)
    assert script.script.name == "requeue"
