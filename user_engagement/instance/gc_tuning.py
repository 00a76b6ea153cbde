"""How often this process looks for reference cycles."""

import gc

ALLOCATIONS = 10_000


def collect_less_often() -> None:
    """Looks for cycles after `ALLOCATIONS` new objects rather than Python's 700.

    Dagster and dbt make millions of objects that stay; to look through them would be a fifth of a short run.
    """
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])
