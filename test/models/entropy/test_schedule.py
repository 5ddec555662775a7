"""The coding schedule: each token once, in order; windows; shapes of grids."""

import math

import numpy as np
import pytest

from mdic_ros.models.entropy.schedule import PriorSizes, nearest, places, schedule, windows


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("grid", [(1, 1), (1, 9), (2, 4), (7, 5), (8, 16), (9, 33), (20, 50)])
def test_codes_each_position_once_in_raster_order(grid: tuple[int, int], groups: int) -> None:
    steps = schedule(*grid, groups, (8, 16))
    assert 1 <= len(steps) <= groups
    positions = np.concatenate([step.positions for step in steps])
    assert np.array_equal(np.sort(positions), np.arange(grid[0] * grid[1]))
    for number, step in enumerate(steps):
        assert (np.diff(step.positions) > 0).all()
        assert np.array_equal(step.query.ravel()[step.slots], step.positions)
        assert step.known.shape[1] == (steps[number - 1].query.shape[1] if number else 0)
        assert step.allowed.shape[1] == step.offset.shape[1] == step.known.shape[1] + step.query.shape[1]
        assert step.offset.min() >= 0 and step.offset.max() < 15 * 31
        assert len(step.allowed) == len(step.offset) == step.pattern.max() + 1 <= 4 and len(step.pattern) == len(
            step.query
        )


def test_groups_lie_in_a_2x2_pattern() -> None:
    for groups, pattern in ((1, [[0, 0], [0, 0]]), (2, [[0, 1], [1, 0]]), (4, [[0, 2], [3, 1]])):
        order = np.empty((6, 8), np.int64)
        for number, step in enumerate(schedule(6, 8, groups, (4, 4))):
            order.ravel()[step.positions] = number
        assert np.array_equal(order, np.tile(pattern, (3, 4)))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 15, 17, 18, 60, 68])
def test_windows_are_few_even_and_complete(size: int) -> None:
    found = windows(size, 8)
    assert [i for window in found for i in window] == list(range(size))
    assert len(found) == math.ceil(size / 8)
    assert all(len(window) <= 8 and window.start % 2 == 0 for window in found)


def test_grid_shapes(small_sizes: PriorSizes) -> None:
    def shapes(grids: tuple[float, ...], h: int, w: int) -> list[tuple[int, int]]:
        sizes = PriorSizes(64, grids, (1,) * len(grids), 32, 2, 2, (4, 6), 8)
        return sizes.grid_shapes(h, w)

    assert shapes((0.25, 0.5, 0.75, 1, 1), 8, 16) == [(2, 4), (4, 8), (6, 12), (8, 16), (8, 16)]
    assert shapes((0.1, 1 / 3), 4, 9) == [(1, 1), (2, 3)]


def test_places_and_nearest_positions() -> None:
    rows, columns, spots = places(2, 4)
    assert rows.tolist() == [4] * 4 + [12] * 4 and columns.tolist() == [4, 12, 20, 28] * 2
    assert spots.tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    assert nearest((4, 4), (2, 2)).tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]
    assert nearest((3, 1), (2, 1)).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"groups": (1, 2)},
        {"groups": (1, 2, 3, 4)},
        {"dim": 33},
        {"num_heads": 0},
        {"num_layers": 0},
        {"window": (3, 8)},
        {"window": (8,)},
        {"grids": ()},
        {"grids": (0.5, 1.0, 1.0, math.nan)},
        {"grids": (0.5, 1.0, 1.0, 1.5)},
    ],
)
def test_sizes_that_make_no_prior(small_sizes: PriorSizes, change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        PriorSizes(**{**vars(small_sizes), **change})  # type: ignore[arg-type]
