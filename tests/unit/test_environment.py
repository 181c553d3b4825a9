"""Variables for the length of a piece of work."""

import os

from linegroup.environment import default_variables


def test_only_what_is_left_open_is_set_and_all_is_put_back(monkeypatch):
    monkeypatch.setenv("LG_HERE", "mine")
    monkeypatch.setenv("LG_WRITTEN", "before")
    monkeypatch.delenv("LG_OPEN", raising=False)
    with default_variables({"LG_HERE": "default", "LG_OPEN": "default"}, ["LG_WRITTEN"]):
        assert (os.environ["LG_HERE"], os.environ["LG_OPEN"]) == ("mine", "default")
        os.environ |= {"LG_OPEN": "changed", "LG_WRITTEN": "after"}
    assert (os.environ["LG_HERE"], os.environ["LG_WRITTEN"]) == ("mine", "before")
    assert "LG_OPEN" not in os.environ
