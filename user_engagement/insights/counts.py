"""Counts of leaves by tenure and week, without the many cells in which there is nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from user_engagement.insights.threads import mapped, workers

Array = NDArray[np.floating]
Floats = NDArray[np.float32]

FEW_GROUPS = 4
"""Up to which it costs more to look for zeros than to add them."""
LEAST_CELLS = 100_000
"""That are added up in more than one thread."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The leaf, tenure and week of each cell that may hold a count, in order of tenure, week and leaf.

    Attributes:
        leaf, tenure, week: each of shape (cells,). shape: numbers of leaves, tenures and weeks.
    """

    leaf: NDArray[np.int32]
    tenure: NDArray[np.int32]
    week: NDArray[np.int32]
    shape: tuple[int, int, int]

    @staticmethod
    def of_cohorts(leaves: int, weeks: int) -> Cells:
        """Every leaf in every week, of one tenure."""
        leaf = np.tile(np.arange(leaves, dtype=np.int32), weeks)
        week = np.arange(weeks, dtype=np.int32).repeat(leaves)
        return Cells(leaf, np.zeros_like(leaf), week, (leaves, 1, weeks))

    @staticmethod
    def of_places(numbers: NDArray[np.integer], shape: tuple[int, int, int]) -> Cells:
        """Cells by their numbers in an array of tenures, weeks and leaves.

        Args:
            numbers: in order; shape (cells,). shape: numbers of leaves, tenures and weeks.
        """
        # quicker than `unravel_index` by far
        place, leaf = np.divmod(numbers.astype(np.int32), np.int32(shape[0]))
        tenure, week = np.divmod(place, np.int32(shape[2]))
        return Cells(leaf, tenure, week, shape)

    @cached_property
    def place(self) -> NDArray[np.int32]:
        """The number of each cell's tenure and week."""
        return self.tenure * self.shape[2] + self.week

    @cached_property
    def starts(self) -> NDArray[np.int32]:
        """The first cell of each tenure and week, and the number of all."""
        places = np.arange(self.shape[1] * self.shape[2] + 1, dtype=np.int32)
        return np.searchsorted(self.place, places).astype(np.int32)

    @cached_property
    def row(self) -> NDArray[np.int64]:
        """The number of each cell's tenure and leaf."""
        return self.tenure * np.int64(self.shape[0]) + self.leaf

    @cached_property
    def of_all_tenures(self) -> NDArray[np.int64]:
        """The number of each cell's week and leaf, as in `of_cohorts`."""
        return self.week * np.int64(self.shape[0]) + self.leaf

    def totals(self, marks: Array, counts: Array, kept: NDArray[np.int64] | None = None) -> Array:
        """Sums of counts weighted by leaf; shape (groups, tenures, weeks).

        Args:
            marks: weights; shape (groups, leaves).
            counts: of the cells that are `kept`, in their order; of all by default.
        """
        leaf, starts = self.leaf, self.starts
        if kept is None and len(marks) > FEW_GROUPS:
            kept = np.flatnonzero(counts)
            counts = counts[kept]
        if kept is not None:
            leaf, starts = leaf[kept], np.searchsorted(kept, starts).astype(np.int32)
        of_leaves = np.ascontiguousarray(marks.T)

        def of_rows(bounds: tuple[int, int]) -> Array:
            """Of a part of the tenures and weeks."""
            part = starts[bounds[0] : bounds[1] + 1]
            cells = slice(part[0], part[-1])
            matrix = csr_array(
                (counts[cells], leaf[cells], part - part[0]), shape=(len(part) - 1, len(of_leaves))
            )
            return matrix @ of_leaves

        return np.ascontiguousarray(np.vstack(mapped(of_rows, shares(starts))).T).reshape(
            len(marks), *self.shape[1:]
        )

    def joined(self, leaf_of: NDArray[np.int64], leaves: int) -> tuple[Cells, NDArray[np.int64]]:
        """The cells of coarser leaves, and the number there of each cell; kept, so not to be written to.

        Args:
            leaf_of: the coarser leaf of each leaf. leaves: how many of them there are.
        """
        if id(leaf_of) not in self._joined:
            self._joined[id(leaf_of)] = (leaf_of, self._join(leaf_of, leaves))
        return self._joined[id(leaf_of)][1]

    @cached_property
    def _joined(self) -> dict[int, tuple[NDArray[np.int64], tuple[Cells, NDArray[np.int64]]]]:
        """What has been joined, with the array that it was joined by, which so keeps its identity."""
        return {}

    def _join(self, leaf_of: NDArray[np.int64], leaves: int) -> tuple[Cells, NDArray[np.int64]]:
        _, tenures, weeks = self.shape
        flat = self.place * leaves + leaf_of[self.leaf]
        is_cell = np.zeros(tenures * weeks * leaves, dtype=bool)
        is_cell[flat] = True
        number = (np.cumsum(is_cell, dtype=np.int32) - 1)[flat].astype(np.int64)
        return Cells.of_places(np.flatnonzero(is_cell), (leaves, tenures, weeks)), number

    def by_tenure(self, counts: Array) -> Array:
        """Sums over weeks; shape (leaves, tenures)."""
        leaves, tenures, _ = self.shape
        return np.bincount(self.row, counts, leaves * tenures).reshape(tenures, leaves).T

    def by_week(self, counts: Array) -> Array:
        """Sums over leaves and tenures; shape (weeks,)."""
        return np.bincount(self.week, counts, self.shape[2])

    def dense(self, counts: Array) -> Floats:
        """The counts with all that are 0; shape (leaves, tenures, weeks)."""
        result = np.zeros(self.shape, np.float32)
        result[self.leaf, self.tenure, self.week] = counts
        return result


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of leaves (or buckets): `weekly` by tenure and week, `cohorts` by week of signup.

    weekly: each of shape (cells,), `users` among them: signed up in an earlier week.
    cohorts: each of shape (leaves, weeks).
    """

    cells: Cells
    weekly: Mapping[str, Floats]
    cohorts: Mapping[str, Floats]

    def joined(self, leaf_of: NDArray[np.int64], weekly: Iterable[str]) -> Counts:
        """The counts of coarser leaves.

        Args:
            leaf_of: the coarser leaf of each leaf. weekly: names of the weekly counts that are asked for.
        """
        order = np.argsort(leaf_of, kind="stable")
        first = np.flatnonzero(np.diff(leaf_of[order], prepend=-1))
        cells, number = self.cells.joined(leaf_of, len(first))
        names = list(weekly)
        sums = mapped(lambda name: summed(number, self.weekly[name], len(cells.leaf)), names)
        return Counts(
            cells,
            dict(zip(names, sums, strict=True)),
            {name: np.add.reduceat(counts[order], first, axis=0) for name, counts in self.cohorts.items()},
        )

    def total(self, name: str, leaves: NDArray[np.bool_]) -> Array:
        """A weekly count of some leaves together; shape (tenures, weeks)."""
        return self.cells.totals(leaves[None].astype(float), self.weekly[name])[0]

    def by_week(self, name: str) -> Array:
        """A weekly count of all leaves together; shape (weeks,)."""
        return self.cells.by_week(self.weekly[name])


def shares(starts: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Ranges of rows with about as many cells each, one for each thread; of few cells one range."""
    rows = len(starts) - 1
    parts = workers() if starts[-1] >= LEAST_CELLS else 1
    inner = np.searchsorted(starts, starts[-1] * np.arange(1, parts) // parts)
    bounds = np.unique([0, *inner, rows])
    return list(pairwise(bounds.tolist()))


def summed(number: NDArray[np.int64], counts: Array, size: int) -> Floats:
    """Sums of counts by number; shape (size,)."""
    return np.bincount(number, counts, size).astype(np.float32)
