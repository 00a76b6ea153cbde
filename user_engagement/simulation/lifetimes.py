"""How long users stay, and whether they come back.

Two clocks run for every user, from the signup day on:

- **Declared churn** is a cancellation within a billing period of 30 days. The probability of cancelling
  differs between users as a beta distribution: the shifted beta-geometric model of Fader and Hardie (2007),
  "How to project customer retention", Journal of Interactive Marketing 21(1). Its hazard in period k is
  a / (a + b + k - 1), which decreases although nobody's own does. The shapes `a` near 0.7 are of the size
  they fit to both of their data sets (0.668 and 0.704); the `b` are set for a first month of 3 to 7 %.
- **Silent churn** means that a user stops coming. Dropout at a constant rate that differs between users as a
  gamma distribution gives Pareto (Lomax) lifetimes: Schmittlein, Morrison and Colombo (1987), "Counting your
  customers", Management Science 33(1). Shape 0.606 and scale 11.67 weeks are what Fader, Hardie and Lee
  (2005), "Counting your customers the easy way", Marketing Science 24(2), report for CDNOW's customers;
  products differ around that scale.

The clocks are independent, as people also cancel what they no longer use. Activity ends at the earlier one.
Afterwards some users come back for a second, shorter spell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from user_engagement.simulation import streams
from user_engagement.simulation.config import PRODUCTS
from user_engagement.simulation.streams import Keys

Days = NDArray[np.int32]

NEVER = np.int32(1 << 20)
"""A day number after the last possible day of a world; the event does not happen."""
LONGEST_STAY = 3650
"""Days; a longer lifetime is recorded as NEVER."""

BILLING_DAYS = 30
CANCELLING = {"basic": (0.70, 9.0), "standard": (0.70, 14.0), "premium": (0.67, 22.0)}
"""Shapes (a, b) of the beta-geometric model, per billing period."""

DROPOUT_SHAPE = 0.606
DROPOUT_SCALE = {"basic": 60.0, "standard": 82.0, "premium": 120.0}
"""Days; CDNOW's 11.67 weeks are 82 days."""
STAY_OF_PAID_CHANNEL = 0.20
STAY_WHEN_NOT_ACTIVATED = 0.12
"""Factors on the scale of silent lifetimes."""

RETURN_AFTER_SILENCE = 0.18
RETURN_AFTER_CANCELLING = 0.07
SHORTEST_ABSENCE = 35
MEAN_FURTHER_ABSENCE = 60.0
SECOND_SPELL_SCALE = 30.0


class Returns(NamedTuple):
    """The day when each user comes back, and the first day after that second spell; NEVER without one."""

    begins: Days
    ends: Days


def cumulative_hazards() -> NDArray[np.float64]:
    """-log of the probability not to have cancelled after k billing periods: shape (products, k from 0)."""
    period = np.arange(1, LONGEST_STAY // BILLING_DAYS + 1)
    shapes = [CANCELLING[product] for product in PRODUCTS]
    hazard = np.array([a / (a + b + period - 1) for a, b in shapes])
    return np.pad(np.cumsum(-np.log1p(-hazard), axis=1), ((0, 0), (1, 0)))


def declared_survival(product: str, days: NDArray[np.integer]) -> NDArray[np.float64]:
    """The probability that a user of `product` has not cancelled by the end of day signup + `days`.

    In closed form, without a price change: the beta-geometric survival at the ends of the billing periods,
    and a straight line between them, as a cancellation is equally likely on each day of its period.
    """
    at_renewal = np.exp(-cumulative_hazards()[PRODUCTS.index(product)])
    return np.interp(days, np.arange(len(at_renewal)) * BILLING_DAYS, at_renewal)


def cancellation_days(
    keys: Keys, signup: Days, product: NDArray[np.uint8], price_day: Days, price_factor: NDArray[np.float64]
) -> Days:
    """The day of each user's cancellation, 1 day after signup or later.

    `price_factor` multiplies the cumulative hazard of the billing periods that begin on `price_day` or later.
    """
    hazards = cumulative_hazards()
    drawn = -np.log(streams.uniform(streams.branch(keys, "cancelling")))
    untouched = np.clip(-((signup - price_day) // BILLING_DAYS), 0, hazards.shape[1] - 1)
    before_change = hazards[product, untouched]
    needed = np.where(drawn > before_change, before_change + (drawn - before_change) / price_factor, drawn)
    period = np.empty(len(keys), dtype=np.int32)
    for code in range(len(PRODUCTS)):
        of_product = product == code
        period[of_product] = np.searchsorted(hazards[code], needed[of_product], side="left")
    within = np.floor(streams.uniform(streams.branch(keys, "day of cancelling")) * BILLING_DAYS)
    day = signup + (period - 1) * BILLING_DAYS + 1 + within
    return np.where(period < hazards.shape[1], day, NEVER).astype(np.int32)


def silent_days(keys: Keys, signup: Days, scale: NDArray[np.float64]) -> Days:
    """The first day on which each user no longer comes: 1 day after signup or later. `scale` is in days."""
    stay = _pareto_days(streams.branch(keys, "dropout"), scale)
    return np.where(stay > LONGEST_STAY, NEVER, signup + np.maximum(stay, 1)).astype(np.int32)


def returns(keys: Keys, gone: Days, chance: NDArray[np.float64]) -> Returns:
    """Second spells of users gone since the day `gone`, with probability `chance` of having one."""
    absent = -MEAN_FURTHER_ABSENCE * np.log(streams.uniform(streams.branch(keys, "absence")))
    begins = gone + SHORTEST_ABSENCE + absent.astype(np.int32)
    stay = _pareto_days(streams.branch(keys, "second spell"), np.full(len(keys), SECOND_SPELL_SCALE))
    comes_back = (gone < NEVER) & (streams.uniform(streams.branch(keys, "return")) < chance)
    return Returns(
        begins=np.where(comes_back, begins, NEVER).astype(np.int32),
        ends=np.where(comes_back, np.minimum(begins + np.maximum(stay, 1), NEVER), NEVER).astype(np.int32),
    )


def _pareto_days(keys: Keys, scale: NDArray[np.float64]) -> NDArray[np.int64]:
    drawn = scale * (streams.uniform(keys) ** (-1 / DROPOUT_SHAPE) - 1)
    return np.minimum(drawn, LONGEST_STAY + 1).astype(np.int64)
