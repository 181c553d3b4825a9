"""Connected pieces, against OpenCV's."""

import cv2
import numpy as np
import pytest

from linegroup.grouping.fragments import pieces


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 20, 130])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 1.0])
def test_pieces_are_those_of_opencv(width, share):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        height = int(rng.integers(1, 40))
        mask = rng.random((height, width)) < share
        mask[rng.random(height) < 0.2] = False
        given = [mask, np.asfortranarray(mask), np.repeat(mask, 2, axis=1)[:, ::2]][seed % 3]
        count, image, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        found = pieces(given)
        np.testing.assert_array_equal(found.image, image)
        np.testing.assert_array_equal(found.areas, stats[1:, cv2.CC_STAT_AREA])
        np.testing.assert_array_equal(found.boxes, stats[1:, :4])
        assert len(found.areas) == count - 1


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_nothing_has_no_pieces(size):
    assert len(pieces(np.zeros(size, bool)).areas) == 0
