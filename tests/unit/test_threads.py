"""Threads that torch has in a thread of ours."""

import threading

import pytest
import torch

from linegroup.backbones.folding import FoldedConv, folded
from linegroup.backbones.threads import share, sharing, use_torch_threads
from linegroup.images import decode


@pytest.fixture(autouse=True)
def as_before():
    """Threads of other tests have as many as those of this one had."""
    count = torch.get_num_threads()
    yield
    use_torch_threads(count)


def in_a_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_steps_take_what_there_is_at_the_time():
    free = [1, 3, 3, 2]

    def work():
        use_torch_threads(1)
        seen = []
        with sharing(lambda: free[len(seen)]):
            for _ in free:
                share()
                seen.append(torch.get_num_threads())
        share()
        return [*seen, torch.get_num_threads()]

    assert in_a_thread(work) == [1, 3, 3, 2, 2]


def test_other_threads_keep_theirs():
    def work():
        use_torch_threads(2)
        share()
        return torch.get_num_threads()

    with sharing(lambda: 1):
        assert in_a_thread(work) == 2


def test_the_network_asks_before_each_convolution(tiny_predictor, chart_png):
    pixels = decode(chart_png).pixels
    asked = []
    model = folded(tiny_predictor.model)
    with sharing(lambda: len(asked.append(1) or asked) % 2 + 1):
        model.maps(pixels)
    assert len(asked) == sum(isinstance(part, FoldedConv) for part in model.modules()) > 2
