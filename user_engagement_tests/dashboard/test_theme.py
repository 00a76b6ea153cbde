from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_engagement.dashboard.data import UNKNOWN
from user_engagement.dashboard.theme import DARK, LIGHT, Style, Theme, slots

# Machado, Oliveira and Fernandes (2009), severity 1: what eyes without red or green cones see of linear RGB
SIGHT = {
    "normal": np.eye(3),
    "without red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "without green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
CONES = np.array([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
OKLAB = np.array([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])
TELLABLE = 0.08
"""A distance in OKLab of clearly different colours; 0.02 is just noticeable side by side."""


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    dark, light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (light + 0.05) / (dark + 0.05)


def seen(colour: str, sight: str) -> np.ndarray:
    return OKLAB @ np.cbrt(CONES @ np.clip(SIGHT[sight] @ linear(colour), 0, 1))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_series_are_told_apart_also_by_the_colour_blind(theme: Theme, sight: str) -> None:
    colours = (*theme.series, theme.unknown)
    near = {
        pair: float(np.linalg.norm(seen(pair[0], sight) - seen(pair[1], sight)))
        for pair in combinations(colours, 2)
    }
    assert min(near.values()) > TELLABLE, min(near, key=near.__getitem__)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_lines_and_text_stand_out_from_the_ground(theme: Theme) -> None:
    for colour in (*theme.series, theme.unknown):
        assert contrast(colour, theme.ground) >= 3
    for colour in (theme.text, theme.muted, theme.good, theme.bad):
        assert contrast(colour, theme.ground) >= 4.5


@given(st.lists(st.text(min_size=1), unique=True, max_size=7))
def test_as_many_values_as_there_are_colours_each_have_their_own(values: list[str]) -> None:
    style = Style(slots=slots(values))
    assert len({style.colour(value) for value in values}) == len(values)


@given(st.lists(st.text(min_size=1), unique=True, max_size=30), st.randoms())
def test_a_value_keeps_its_colour_whatever_the_order(values: list[str], random: object) -> None:
    shuffled = values[:7]
    random.shuffle(shuffled)
    assert slots(values) == slots([*shuffled, *values[7:]])


def test_what_is_unknown_is_grey_and_takes_no_colour_from_others() -> None:
    assert Style(slots=slots([UNKNOWN, "DE"])).colour(UNKNOWN) == LIGHT.unknown
    assert slots([UNKNOWN, "DE"]) == slots(["DE"])


def test_values_beyond_the_colours_differ_by_their_dashes() -> None:
    style = Style(slots=slots([f"value {n}" for n in range(20)]))
    assert len({(style.colour(v), style.dash(v)) for v in style.slots}) == 20
