"""Ctrl-C comes at safe points only."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from linegroup.files import write_atomic
from linegroup.interrupts import interrupts_held, safe_point


@pytest.fixture(autouse=True)
def hearing():
    """As in a terminal, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    signal.raise_signal(signal.SIGINT)


def held(*steps):
    """The steps, one after the other, while interrupts are held."""
    with interrupts_held():
        for step in steps:
            step()


def fail():
    raise ValueError("mine")


def test_an_interrupt_comes_at_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt):
        held(interrupt, lambda: done.append("all"))
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_comes_at_a_safe_point_within():
    done = []
    with pytest.raises(KeyboardInterrupt):
        held(safe_point, lambda: done.append("before"), interrupt, safe_point, lambda: done.append("after"))
    assert done == ["before"]


def test_an_interrupt_wins_over_what_else_went_wrong():
    with pytest.raises(KeyboardInterrupt):
        held(interrupt, fail)


def test_without_an_interrupt_errors_pass():
    with pytest.raises(ValueError, match="mine"):
        held(fail)
    safe_point()


def test_blocks_within_blocks():
    done = []
    with pytest.raises(KeyboardInterrupt):
        held(lambda: held(interrupt), lambda: done.append("the outer block still holds it"))
    assert done


def test_who_ignores_interrupts_is_left_alone():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts_held():
        interrupt()
        safe_point()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_hold_nothing():
    seen = []

    def work():
        with interrupts_held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def write_and_interrupt_twice(path):
    """What the process of the next test does."""

    def write(stream):
        stream.write(b"half")
        interrupt()
        assert len(list(path.parent.iterdir())) == 1
        interrupt()

    with interrupts_held():
        write_atomic(path, write)


def test_a_second_interrupt_ends_the_process_at_once_and_leaves_no_temporary_file(tmp_path):
    code = f"""
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_interrupts import write_and_interrupt_twice
write_and_interrupt_twice(Path({str(tmp_path / "file")!r}))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr == "linegroup: Interrupted.\n"
    assert list(tmp_path.iterdir()) == []
