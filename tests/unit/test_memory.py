"""Freed memory that is kept for what is asked for next."""

import gc
import platform
import resource
import subprocess
import sys
import weakref

import pytest

from linegroup.memory import keep_objects

PROGRAM = """
import resource, sys, threading
from linegroup.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory() and keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        b'x' * (80 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def twice():
    faults()
    print(faults())
if sys.argv[2] == "thread":
    thread = threading.Thread(target=twice)
    thread.start()
    thread.join()
else:
    twice()
"""


def run(mode: str, where: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode, where]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_large_arrays_are_not_cleared_by_the_system_again_and_again(where):
    pages = 4 * (80 << 20) // resource.getpagesize()
    assert run("kept", where) < 0.1 * pages
    assert run("given back", where) > 0.5 * pages


def test_elsewhere_nothing_is_done(monkeypatch):
    from linegroup import memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_freed_memory.__wrapped__()


def test_objects_that_stay_are_not_looked_through_and_garbage_goes():
    class Node:
        def __init__(self):
            self.itself = self

    old = weakref.ref(Node())
    try:
        keep_objects()
        assert old() is None
        assert gc.get_freeze_count() > 1000
        held, later = Node(), weakref.ref(Node())
        kept = weakref.ref(held)
        gc.collect()
        assert later() is None
        keep_objects()
        del held
        gc.collect()
        assert kept() is not None, "it was there when all were frozen"
        keep_objects()
        assert kept() is None, "once more: what is left of an old model goes"
    finally:
        gc.unfreeze()
