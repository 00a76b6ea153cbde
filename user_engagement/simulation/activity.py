"""The clean sessions of one day: the records of a customer-experience platform without errors.

The number of sessions of a living user on a day is geometric with mean

    rate of the user (gamma)  x  curve of tenure  x  weekday  x  season

A geometric count is a Poisson count whose rate differs from day to day (gamma with shape 1): people come in
bursts. With rates of users that differ as a gamma distribution it is akin to the NBD side of Schmittlein,
Morrison and Colombo (1987). It also needs only multiplication and division, which round alike wherever in
an array a user is; exp() may not, and one changed last bit would change the world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from user_engagement.simulation import growth, streams
from user_engagement.simulation.config import LONGEST_WORLD, PRODUCTS, WorldConfig
from user_engagement.simulation.population import DAY_SECONDS, DEVICES, Population
from user_engagement.simulation.streams import Keys

INTERACTIONS = ("view_content", "search", "create", "collaborate", "support")
INTERACTION_SHARES = {
    "basic": (0.52, 0.24, 0.14, 0.04, 0.06),
    "standard": (0.42, 0.20, 0.22, 0.11, 0.05),
    "premium": (0.32, 0.15, 0.28, 0.21, 0.04),
}
DURATION_MEDIAN = {"view_content": 240, "search": 110, "create": 780, "collaborate": 1020, "support": 420}
"""Seconds."""
DURATION_SIGMA = 0.9
SHORTEST_SESSION = 2
LONGEST_SESSION = 6 * 3600
"""Log-normal durations in seconds are clipped to this range, so that only dirt has absurd durations."""

MAIN_DEVICE_SHARE = 0.86

WEEKDAY_ACTIVITY = np.array([1.08, 1.10, 1.09, 1.06, 1.01, 0.80, 0.86])
"""Monday first."""
SEASONAL_SWING = 0.04

SIGNUP_DAY_BOOST = 5.0
SETTLED = 0.75
SETTLING_DAYS = 40.0
FIRST_WEEK_ACTIVATED = 1.3
FIRST_WEEK_UNACTIVATED = 0.12
LATER_UNACTIVATED = 0.60
LONGEST_TENURE = LONGEST_WORLD

HOURLY_ACTIVITY = (12, 8, 6, 5, 5, 7, 12, 24, 40, 52, 56, 58, 60, 58, 56, 55, 56, 60, 66, 72, 70, 56, 38, 22)
"""Relative sessions in each UTC hour of the day."""

MOST_SESSIONS = 24
"""Per user and day."""
BLOCK = 1 << 15
"""Users per block; the arrays of one block fit in the processor's cache."""

SESSION = np.dtype(
    [
        ("event_id", "i8"),
        ("user_id", "i8"),
        ("at", "i8"),
        ("duration", "i4"),
        ("interaction", "u1"),
        ("device", "u1"),
    ],
    align=True,
)
"""One session: `at` in seconds since the world's start, `duration` in seconds, `interaction` and `device` as codes."""


@dataclass(frozen=True)
class Sessions:
    """Sessions of one day; for each the key of its later draws, and whether it is the first of its user."""

    rows: NDArray[np.void]
    key: Keys
    is_first: NDArray[np.bool_]


@dataclass(frozen=True)
class Behaviour:
    """Lookup tables: the values for a user's day or for a 16-bit random number."""

    activity_key: np.uint64
    day_factor: NDArray[np.float32]
    tenure_curve: NDArray[np.float32]
    second_of_day: NDArray[np.int32]
    interaction: NDArray[np.uint8]
    duration: NDArray[np.int32]
    device: NDArray[np.uint8]
    release_day: int
    release_cut: int


def behaviour(config: WorldConfig, days: int) -> Behaviour:
    """The tables of a world for its first `days` days."""
    weekday, wave = growth.calendar(config, days)
    release = config.stories.mobile_release
    return Behaviour(
        activity_key=streams.stream_key(config.seed, "activity"),
        day_factor=(WEEKDAY_ACTIVITY[weekday] * (1 + SEASONAL_SWING * wave)).astype(np.float32),
        tenure_curve=_tenure_curve(),
        second_of_day=_second_of_day(),
        interaction=np.concatenate(
            [streams.lane_choices(np.array(INTERACTION_SHARES[product])) for product in PRODUCTS]
        ),
        duration=_durations(),
        device=np.concatenate([streams.lane_choices(_device_shares(main)) for main in range(len(DEVICES))]),
        release_day=days if release is None else config.day_number(release.begins),
        release_cut=0 if release is None else streams.lane_share(release.session_cut),
    )


def sessions_on(day: int, users: Population, tables: Behaviour) -> Sessions:
    """All sessions of `users`, who are in order of signup, that begin on day number `day`."""
    signed_up = int(np.searchsorted(users.signup_day, day, side="right"))
    day_key = streams.numbered(tables.activity_key, np.array([day]))[0]
    blocks = [
        _block_sessions(day, day_key, users.where(slice(start, min(start + BLOCK, signed_up))), tables)
        for start in range(0, max(signed_up, 1), BLOCK)
    ]
    return Sessions(
        rows=np.concatenate([block.rows for block in blocks]),
        key=np.concatenate([block.key for block in blocks]),
        is_first=np.concatenate([block.is_first for block in blocks]),
    )


def _block_sessions(day: int, day_key: np.uint64, users: Population, tables: Behaviour) -> Sessions:
    user_day = streams.mix(users.key + day_key)
    mean = users.rate * tables.day_factor[day]
    mean *= tables.tenure_curve.take(day - users.signup_day + users.activated * np.int32(LONGEST_TENURE))
    mean *= (day < users.gone_day) | ((day >= users.return_day) & (day < users.second_gone_day))
    more = mean / (1 + mean)
    chance = streams.coarse_uniform(user_day)
    active = np.flatnonzero(chance < more)
    counts = _session_counts(chance[active], more[active])
    position = np.repeat(active, counts)
    number = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
    key = streams.mix(user_day[position] + number.astype(np.uint64) * streams.GOLDEN)
    sessions = Sessions(
        rows=_rows(day, users, position, number, key, tables),
        key=streams.following(key),
        is_first=(users.signup_day[position] == day) & (number == 0),
    )
    return _without_lost_phone_sessions(day, sessions, tables)


def _session_counts(chance: NDArray[np.float32], more: NDArray[np.float32]) -> NDArray[np.int64]:
    """Geometric counts of 1 or more: another session takes place while `chance` is below the next power."""
    counts = np.ones(len(chance), dtype=np.int64)
    going_on = np.arange(len(chance))
    power = more
    for _ in range(MOST_SESSIONS - 1):
        power = power * more[going_on] if len(power) == len(going_on) else power
        has_another = chance[going_on] < power
        going_on = going_on[has_another]
        power = power[has_another]
        if not len(going_on):
            break
        counts[going_on] += 1
    return counts


def _rows(
    day: int,
    users: Population,
    position: NDArray[np.intp],
    number: NDArray[np.int64],
    key: Keys,
    tables: Behaviour,
) -> NDArray[np.void]:
    lane = streams.lanes(key)
    rows = np.empty(len(position), dtype=SESSION)
    user_id = users.user_id[position]
    interaction = tables.interaction.take(_at(users.product[position], lane[:, 1]))
    rows["event_id"] = (np.int64(day) << 36) | (user_id << 8) | number
    rows["user_id"] = user_id
    rows["at"] = day * DAY_SECONDS + _second(day, users, position, lane[:, 0], tables)
    rows["interaction"] = interaction
    rows["duration"] = tables.duration.take(_at(interaction, lane[:, 2]))
    rows["device"] = tables.device.take(_at(users.main_device[position], lane[:, 3]))
    return rows


def _second(
    day: int, users: Population, position: NDArray[np.intp], lane: NDArray[np.uint16], tables: Behaviour
) -> NDArray[np.int32]:
    """The second of the day; on the signup day a uniform second after the signup."""
    second = tables.second_of_day.take(lane)
    new = np.flatnonzero(users.signup_day[position] == day)
    signed_up_at = users.signup_second[position[new]].astype(np.int64)
    second[new] = signed_up_at + ((DAY_SECONDS - signed_up_at) * lane[new] >> 16)
    return second


def _without_lost_phone_sessions(day: int, sessions: Sessions, tables: Behaviour) -> Sessions:
    if day < tables.release_day:
        return sessions
    on_phone = sessions.rows["device"] == DEVICES.index("phone")
    stays = ~(on_phone & (streams.lanes(sessions.key)[:, 0] < tables.release_cut))
    return Sessions(rows=sessions.rows[stays], key=sessions.key[stays], is_first=sessions.is_first[stays])


def _at(category: NDArray[np.uint8], lane: NDArray[np.uint16]) -> NDArray[np.int32]:
    """The index of an entry in a table with 65,536 entries per category."""
    return (category.astype(np.int32) << 16) | lane


def _tenure_curve() -> NDArray[np.float32]:
    """Activity by days since signup, first for users who are not activated, then for those who are.

    It decays exponentially to 3/4 of the initial value. In the first week activated users come more often, and
    users who are not activated hardly come back.
    """
    tenure = np.arange(LONGEST_TENURE)
    settling = SETTLED + (1 - SETTLED) * np.exp(-tenure / SETTLING_DAYS)
    activated = settling * np.where(tenure < 7, FIRST_WEEK_ACTIVATED, 1.0)
    not_activated = settling * np.where(tenure < 7, FIRST_WEEK_UNACTIVATED, LATER_UNACTIVATED)
    activated[0] = not_activated[0] = SIGNUP_DAY_BOOST
    return np.concatenate([not_activated, activated]).astype(np.float32)


def _second_of_day() -> NDArray[np.int32]:
    share_so_far = np.concatenate([[0.0], np.cumsum(HOURLY_ACTIVITY) / sum(HOURLY_ACTIVITY)])
    return np.interp(streams.lane_quantiles(), share_so_far, np.arange(25) * 3600).astype(np.int32)


def _durations() -> NDArray[np.int32]:
    spread = np.exp(DURATION_SIGMA * special.ndtri(streams.lane_quantiles()))
    seconds = np.concatenate([DURATION_MEDIAN[name] * spread for name in INTERACTIONS])
    return np.clip(np.rint(seconds), SHORTEST_SESSION, LONGEST_SESSION).astype(np.int32)


def _device_shares(main: int) -> NDArray[np.float64]:
    shares = np.full(len(DEVICES), (1 - MAIN_DEVICE_SHARE) / (len(DEVICES) - 1))
    shares[main] = MAIN_DEVICE_SHARE
    return shares
