"""Scripts as Redis knows them: all of them load, under the names that we compute."""

from typing import Any

import pytest
from redis.exceptions import ResponseError

from common.redis.scripts import Script
from tests.support.processes.process import ROOT

LUA = ROOT / "common" / "redis" / "lua"
NAMES = sorted(path.stem for path in LUA.glob("*/*.lua") if not path.name.endswith(".lib.lua"))


def made_of(code: str) -> Script:
    """A script with code of the test's."""
    script = Script("take")
    script.text = f"#!lua\n{code}"
    script.sha = "0" * 40
    return script


@pytest.mark.parametrize("name", NAMES)
async def test_every_script_compiles_and_has_the_name_that_redis_gives_it(
    redis: Any, name: str
) -> None:
    script = Script(name)
    assert await redis.script_load(script.text) == script.sha


def test_no_two_scripts_have_one_name() -> None:
    files = [path.name for path in LUA.glob("*/*.lua")]
    assert len(files) == len(set(files))


def test_a_script_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.lua"):
        Script("nothing")


def test_a_library_is_in_front_of_its_script() -> None:
    library = (LUA / "queue" / "accept.lib.lua").read_text()
    for name in ("accept", "requeue"):
        text = Script(name).text
        assert text.index(library) < text.index((LUA / "queue" / f"{name}.lua").read_text())


async def test_a_script_that_redis_forgot_is_loaded_and_runs_once(redis: Any) -> None:
    script = made_of("return redis.call('INCR', KEYS[1])")
    script.sha = await redis.script_load(script.text)
    await redis.script_flush()
    assert [await script(redis, ["count"], []) for _ in range(2)] == [1, 2]


async def test_a_refusal_is_no_reason_to_run_it_again(redis: Any) -> None:
    script = made_of("redis.call('INCR', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x')")
    script.sha = await redis.script_load(script.text)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await script(redis, ["count"], [])
    assert await redis.get("count") == b"1"


async def test_what_empties_redis_runs_when_it_is_full_and_what_fills_it_does_not(
    redis: Any,
) -> None:
    await redis.config_set("maxmemory", "1")
    try:
        for name, runs in (("trim", True), ("contents", True), ("accept", False)):
            script = Script(name)
            with pytest.raises(ResponseError) as refused:
                # Too few keys: one that runs fails for that.
                await script(redis, [], [])
            assert ("maxmemory" in str(refused.value)) is not runs
    finally:
        await redis.config_set("maxmemory", "0")
