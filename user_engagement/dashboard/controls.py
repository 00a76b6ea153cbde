"""The filters as widgets, and their way into the address and back.

What counts is kept in the session as `Filters`; widgets show it and change it. An address that the viewer opened,
edited or went back to is read; one that this page wrote is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import streamlit as st

from user_engagement import formatting as fmt
from user_engagement.dashboard.data import ALL, Generation
from user_engagement.dashboard.filters import COMPARISONS, OPTIONS, RANGES, Filters
from user_engagement.dashboard.view import View

FILTERS, WRITTEN, TOUCHED = "filters", "written", "touched"


def current_filters(generation: Generation) -> Filters:
    """What the viewer has chosen, as far as this generation knows it."""
    state = st.session_state
    query = _address()
    # A widget's change is sent with the address as the browser knew it, which may be the one before.
    touched = state.pop(TOUCHED, False)
    opened = query != state.get(WRITTEN) and not touched
    if FILTERS not in state or opened:
        state[FILTERS] = Filters.from_query(query, generation.segments)
    else:
        known = {n: v if isinstance(v, list) else [v] for n, v in state[FILTERS].to_query().items()}
        state[FILTERS] = Filters.from_query(known, generation.segments)
    return state[FILTERS]


def write_address(filters: Filters) -> None:
    query = filters.to_query()
    wanted = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
    if _address() != wanted:
        st.query_params.from_dict(query)
    st.session_state[WRITTEN] = wanted


def filter_menu(view: View) -> None:
    """The filters that concern every page, behind a button that says what they are set to."""
    filters, generation = view.filters, view.generation
    with st.popover(view.short_words, icon=":material/tune:"):
        _select("Days", "range", list(RANGES), filters.range, RANGES.__getitem__)
        if filters.range == "custom":
            _days(view)
        _several("Segments (none: all users)", "segments", generation.segments, filters.segments, fmt.label)
        for name, chosen in filters.segments.items():
            label = f"{fmt.label(name)} (none: all values)"
            _several(label, f"values_{name}", generation.segments[name], chosen, fmt.label, of_segment=name)
        _select("Compare with", "compare", list(COMPARISONS), filters.compare, COMPARISONS.__getitem__)


def navigation(titles: Mapping[str, str], current: str) -> None:
    """The pages. Their names are part of the query, since Streamlit looks for its own files below a page's path."""
    key = "choose_page"
    _show(key, current)
    st.segmented_control(
        "Page",
        list(titles),
        format_func=titles.__getitem__,
        key=key,
        on_change=_choose,
        args=("page", key),
        label_visibility="collapsed",
    )


def option(name: str, filters: Filters) -> None:
    """The widget of an option that concerns what follows it."""
    chosen = OPTIONS[name]
    _select(chosen.label, name, list(chosen.values), filters.option(name), chosen.values.__getitem__)


def focus(view: View) -> None:
    """The widget for the one group of single-group charts."""
    options = tuple(view.groups) if len(view.groups) == 1 else (ALL, *view.groups)
    _select("Group shown in the next chart", "focus", options, view.group_value, view.style.label)


def _select(label: str, name: str, options: Iterable[str], current: str, named: Callable[[str], str]) -> None:
    key = f"choose_{name}"
    _show(key, current)
    st.selectbox(label, list(options), format_func=named, key=key, on_change=_choose, args=(name, key))


def _several(
    label: str,
    name: str,
    present: Iterable[str],
    chosen: Iterable[str],
    named: Callable[[str], str],
    of_segment: str = "",
) -> None:
    """A widget of several choices: segments, or values of a segment."""
    key, options = f"choose_{name}", list(present)
    _show(key, [option for option in options if option in chosen])
    args = (of_segment, key)
    st.multiselect(label, options, format_func=named, key=key, on_change=_choose_several, args=args)


def _days(view: View) -> None:
    key = "choose_days"
    st.session_state[key] = view.filters.days(view.generation, view.first_day)
    st.date_input(
        "From – to",
        min_value=min(view.first_day, st.session_state[key][0]),
        max_value=max(view.generation.as_of, st.session_state[key][1]),
        key=key,
        on_change=_choose_days,
        args=(key,),
    )


def _show(key: str, value: object) -> None:
    """Sets what the widget of that key shows."""
    st.session_state[key] = st.session_state[f"shown_{key}"] = value


def _choose(name: str, key: str) -> None:
    state = st.session_state
    # Streamlit also calls for a widget that was new in a view that the next one cut short
    if state[key] == state.get(f"shown_{key}"):
        return
    state[f"shown_{key}"] = state[key]
    state[TOUCHED] = True
    # what was chosen already can be pressed again, and is then None
    if state[key] is not None:
        state[FILTERS] = state[FILTERS].choose(name, state[key])


def _choose_several(of_segment: str, key: str) -> None:
    state = st.session_state
    if state[key] == state.get(f"shown_{key}"):
        return
    state[f"shown_{key}"] = state[key]
    state[TOUCHED] = True
    filters: Filters = state[FILTERS]
    state[FILTERS] = (
        filters.choose_values(of_segment, state[key]) if of_segment else filters.choose_segments(state[key])
    )


def _choose_days(key: str) -> None:
    days: tuple[date, ...] = st.session_state[key]
    # one end is chosen first
    if len(days) == 2:
        state = st.session_state
        state[FILTERS] = state[FILTERS].choose("start", days[0]).choose("end", days[1])
    st.session_state[TOUCHED] = True


def _address() -> dict[str, list[Any]]:
    return {name: st.query_params.get_all(name) for name in st.query_params}
