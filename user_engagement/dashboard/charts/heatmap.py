"""Cohorts by periods since signup."""

from __future__ import annotations

from typing import Any

from user_engagement import formatting as fmt
from user_engagement.dashboard.charts.chart import FEW_USERS, Chart, nothing_to_draw
from user_engagement.dashboard.data import Frame
from user_engagement.dashboard.theme import Style, layout

DEEP = 0.58
"""From this part of the scale on, the second ink is easier to read on a cell than the first."""
Row = Any
"""A row of a frame, as `itertuples` gives it."""


def cohorts(
    rows: Frame, style: Style, *, key: str, title: str, about: str, period: str, highest: float
) -> Chart:
    """Cohorts by periods since signup; a cell that not every member has completed is grey and says how far it is.

    The colours run from 0 to ``highest`` whatever is shown, so that a poor group looks poor. The first period, in
    which nearly all are active, has none.
    """
    if rows.empty:
        return Chart(key, title, about, nothing_to_draw(rows), None, rows)
    ordered = rows.sort_values(["signup_month", "period_number"])
    cells = ordered.assign(
        cohort=[fmt.month(m) for m in ordered.signup_month],
        number=[_cell_number(r) for r in ordered.itertuples()],
        hover=[_cell_hover(r, period) for r in ordered.itertuples()],
    )
    labels, theme = list(cells.cohort.drop_duplicates()), style.theme
    shared = {
        "type": "heatmap",
        "y": labels,
        "texttemplate": "%{text}",
        "hovertemplate": "%{hovertext}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    scale = {
        "zmin": 0,
        "zmax": highest,
        "colorscale": [[i / 4, colour] for i, colour in enumerate(theme.scale)],
        "colorbar": {"tickformat": ".0%", "outlinewidth": 0, "thickness": 10},
    }
    grey = {"colorscale": [[0, theme.incomplete], [1, theme.incomplete]], "showscale": False}
    is_coloured = cells.is_complete & (cells.period_number > 0)
    is_deep = cells.retention_rate > DEEP * highest
    pale, deep = ({"textfont": {"color": colour}} for colour in theme.inks)
    layers = [
        grey | {"textfont": {"color": theme.text}} | _layer(cells, ~is_coloured, labels),
        scale | pale | _layer(cells, is_coloured & ~is_deep, labels),
        scale | deep | {"showscale": False} | _layer(cells, is_coloured & is_deep, labels),
    ]
    figure = {
        "data": [shared | layer for layer in layers],
        "layout": layout(
            theme,
            110 + 26 * len(labels),
            {"title": f"{fmt.label(period)}s since signup", "dtick": 1, "showgrid": False},
            {"type": "category", "autorange": "reversed", "showgrid": False},
            hovermode="closest",
        ),
    }
    return Chart(key, title, about, _cohorts_in_words(cells, period), figure, ordered)


def _layer(cells: Frame, chosen: Frame, labels: list[str]) -> dict[str, Any]:
    """The values, texts and hover texts of the cells chosen; the others are empty."""
    periods = sorted(cells.period_number.unique())
    shown = cells.assign(z=cells.retention_rate.fillna(0.0))[chosen]

    def grid(column: str) -> Frame:
        wide = shown.pivot(index="cohort", columns="period_number", values=column)
        return wide.reindex(index=labels, columns=periods)

    return {
        "x": periods,
        "z": grid("z").to_numpy(dtype=float),
        "text": grid("number").fillna("").to_numpy().tolist(),
        "hovertext": grid("hover").fillna("").to_numpy().tolist(),
    }


def _cell_number(row: Row) -> str:
    if not row.is_complete:
        return "…"
    return f"{100 * row.retention_rate:.0f}{'*' if row.eligible_users < FEW_USERS else ''}"


def _cell_hover(row: Row, period: str) -> str:
    name = f"<b>{fmt.month(row.signup_month)}</b>, {period} {row.period_number}<br>"
    if row.is_complete:
        return (
            f"{name}{fmt.value(row.retention_rate, 'rate')} retained: {row.retained_users:,} of "
            f"{row.eligible_users:,} users<br>95 % interval {fmt.interval(row.ci_low, row.ci_high, 'rate')}"
        )
    so_far = f"<br>of these {row.retained_users:,} retained" if row.eligible_users else ""
    return f"{name}incomplete: {row.eligible_users:,} of {row.cohort_size:,} users have completed it{so_far}"


def _cohorts_in_words(cells: Frame, period: str) -> str:
    count = cells.cohort.nunique()
    text = f"{count} cohorts by month of signup." if count > 1 else "One cohort."
    first = cells[cells.is_complete & (cells.period_number == 1)]
    if len(first):
        told = [
            f"{name} for {row.cohort} ({fmt.value(row.retention_rate, 'rate')} of {row.eligible_users:,})"
            for name, row in (
                ("highest", first.loc[first.retention_rate.idxmax()]),
                ("lowest", first.loc[first.retention_rate.idxmin()]),
            )
        ]
        text += f" In {period} 1 retention is {fmt.enumeration(told)}."
    if (cells[cells.is_complete].eligible_users < FEW_USERS).any():
        text += f" * stands for fewer than {FEW_USERS} users."
    return text
