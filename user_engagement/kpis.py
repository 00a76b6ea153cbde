"""What the change of a KPI is worth."""

from __future__ import annotations


def is_improvement(desired_direction: str, change: float) -> bool | None:
    """Whether a change of a KPI is welcome; None if it is neither good nor bad, or nothing changed.

    ``desired_direction`` is that of `kpi_summary`: `up`, `down` or `none`.
    """
    if desired_direction == "none" or change != change or change == 0:
        return None
    return (change > 0) == (desired_direction == "up")
