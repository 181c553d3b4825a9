"""Machine code that is kept, or not yet."""

import os

import pytest

from linegroup import compiling


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "_KEPT", [])
    source = tmp_path / "doubling.py"
    source.write_text("def double(x):\n    return 2 * x\n")
    names = {}
    exec(compile(source.read_text(), str(source), "exec"), names)
    return source, compiling.compiled(names["double"])


@pytest.mark.skipif(not compiling.COMPILES, reason="no numba here")
def test_cold_until_machine_code_is_kept_and_after_a_change(module):
    source, double = module
    assert compiling.is_cold()
    assert double(2) == 4
    assert not compiling.is_cold()
    later = source.stat().st_mtime + 60
    os.utime(source, (later, later))
    assert compiling.is_cold()
