"""Seldom collections, in a process of their own: the settings are those of the whole process."""

import subprocess
import sys


def run(code: str) -> list[str]:
    """Return the words that a program printed behind a preamble that can tell what is collected."""
    preamble = """
import gc, weakref
from common.process.garbage_collection import collect_seldom
class Ring:
    def __init__(self): self.me = self
def dropped():
    return weakref.ref(Ring())
gc.disable(); before = dropped(); gc.enable()
"""
    done = subprocess.run(
        [sys.executable, "-c", preamble + code], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_what_existed_before_is_never_looked_at_again_and_the_rest_still_is() -> None:
    code = """
collect_seldom()
after = dropped()
gc.collect()
print(before() is None, after() is None)
"""
    assert run(code) == ["False", "True"]


def test_collections_are_as_far_apart_as_asked_for() -> None:
    code = """
collect_seldom({0})
runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
kept = [[] for _ in range(5_000)]
print(len(runs) > 0)
"""
    assert run(code.replace("{0}", "1_000")) == ["True"]
    assert run(code.replace("{0}", "50_000")) == ["False"]
