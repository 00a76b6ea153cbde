"""Small static charts as SVG images inside the page: no script draws them, so they are there with the text.

The images stretch to their frame; labels are HTML around them, in the page's own font.
"""

from __future__ import annotations

from base64 import b64encode

import numpy as np

from user_engagement import formatting as fmt
from user_engagement.dashboard.blocks import Drawing, SeriesDrawing
from user_engagement.dashboard.findings import Course, Finding
from user_engagement.dashboard.theme import Theme
from user_engagement.dashboard.trends import Trend

WIDTH, HEIGHT = 400.0, 100.0
LABEL_HEIGHT = 22.0
"""Of a line of text, in per cent of the frame."""
TO_ZERO = 0.5
"""The axis begins at zero if the lowest value lies below this share of the highest."""


def sparkline(trend: Trend, theme: Theme) -> Drawing:
    """A figure's months as a line; the page puts a dot on the last value."""
    values = trend.months.value.to_numpy(dtype=float)
    x, y = _positions(len(values)), _heights(values, *_range(values))
    course = f"{fmt.month(trend.months.month.iloc[0])}: {fmt.value(values[0], trend.unit)}"
    alt = f"{trend.label}, month by month. {course}; {fmt.month(trend.month)}: {trend.value}."
    return Drawing(_image([_line(x, y, theme.muted, 1.5)]), alt, float(y[-1] / HEIGHT * 100))


def against_expected(finding: Finding, course: Course, theme: Theme) -> SeriesDrawing | None:
    """A finding's metric by week against what was expected, with its change marked; None without known weeks."""
    rows, unit = course.weeks, course.unit
    if len(rows) < 2:
        return None
    columns = rows[["actual", "expected", "expected_low", "expected_high"]].to_numpy(dtype=float).T
    lines = columns[:2]
    low, high = _range(lines[np.isfinite(lines)])
    x = _positions(len(rows))
    actual, expected, expected_low, expected_high = (_heights(column, low, high) for column in columns)
    known = np.isfinite(expected_low) & np.isfinite(expected_high)
    parts = [
        _area(x[known], expected_low[known], expected_high[known], theme.muted, 0.18),
        _line(x, expected, theme.muted, 1.5, dashed=True),
        _line(x, actual, theme.series[0], 2.0),
    ]
    weeks = rows.week.dt.date.tolist()
    for day in filter(None, (finding.since, finding.until)):
        position = np.interp(day.toordinal(), [w.toordinal() for w in weeks], x)
        parts.append(_vertical(float(position), theme.bad))
    ends = lines[:, -1] if finding.until else np.array([course.actual, course.expected], dtype=float)
    last, usual = (fmt.brief_value(value, unit) for value in ends)
    last_at, usual_at = _apart(*_heights(ends, low, high))
    return SeriesDrawing(
        drawing=Drawing(
            _image(parts),
            f"{course.name} of {finding.group} by week: {last} in the last week, {usual} expected.",
            last_at,
        ),
        expected_last=usual_at,
        first_day=fmt.month(weeks[0]),
        last_day=fmt.month(weeks[-1]),
    )


def _apart(one: float, other: float) -> tuple[float, float]:
    """Two heights in per cent, moved so far apart that labels at them do not overprint."""
    one, other = one / HEIGHT * 100, other / HEIGHT * 100
    lacking = (LABEL_HEIGHT - abs(one - other)) / 2
    if lacking <= 0:
        return one, other
    return (one + lacking, other - lacking) if one >= other else (one - lacking, other + lacking)


def _positions(count: int) -> np.ndarray:
    return np.linspace(0, WIDTH, count) if count > 1 else np.array([WIDTH])


def _range(values: np.ndarray) -> tuple[float, float]:
    """The lower and upper end of the axis."""
    low, high = float(values.min()), float(values.max())
    if low >= 0 and low < TO_ZERO * high:
        return 0.0, high or 1.0
    room = (high - low or abs(high) or 1.0) * 0.25
    return low - room, high


def _heights(values: np.ndarray, low: float, high: float) -> np.ndarray:
    margin = 0.06 * HEIGHT
    return HEIGHT - margin - (values - low) / (high - low) * (HEIGHT - 2 * margin)


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))


def _line(x: np.ndarray, y: np.ndarray, colour: str, width: float, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<polyline points="{_points(x, y)}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}'
        ' stroke-linejoin="round" vector-effect="non-scaling-stroke"/>'
    )


def _area(x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, opacity: float) -> str:
    outline = _points(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
    return f'<polygon points="{outline}" fill="{colour}" fill-opacity="{opacity}"/>'


def _vertical(x: float, colour: str) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="{colour}" stroke-width="1"'
        ' stroke-dasharray="2 2" vector-effect="non-scaling-stroke"/>'
    )


def _image(parts: list[str]) -> str:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" '
        f'preserveAspectRatio="none">{"".join(parts)}</svg>'
    )
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
