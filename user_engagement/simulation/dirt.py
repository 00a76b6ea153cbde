"""The errors in the data: between a session and its delivered row, and between a signup and its row.

Every kind of error uses its own random bits, so that switching one off changes only its own rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from user_engagement.simulation import streams
from user_engagement.simulation.activity import Sessions
from user_engagement.simulation.config import CHANNELS, COUNTRIES, LATEST_DAYS, PRODUCTS, Dirt
from user_engagement.simulation.population import DAY_SECONDS, Population

MISSING_DURATION = np.iinfo(np.int32).min
MISSING_DEVICE = 255

FIRST_ORPHAN_ID = 9_000_000_000
ORPHAN_IDS = 50_000
"""Orphans have user ids from FIRST_ORPHAN_ID on; no signup has such an id."""
ORPHAN_FLAG = 1 << 50
BEFORE_SIGNUP_FLAG = 1 << 51
"""Flags added to the event id of the session that a dirty row was copied from. Ids stay below 2^53."""

ABSURD_SECONDS = np.array([0, -1, -3600, 86_401, 172_800, 604_800, 2_000_000_000], dtype=np.int32)


def deliveries_of_day(day: int, sessions: Sessions, dirt: Dirt) -> list[NDArray[np.void]]:
    """The rows of one day's sessions, dirt included, by the days until their delivery: 0 to LATEST_DAYS."""
    more_bits = streams.following(sessions.key)
    delay = _delays(sessions, dirt)
    rows = _with_wrong_values(sessions, more_bits, dirt)
    orphans = _orphans(rows, more_bits, dirt)
    early = _before_signup(day, rows, sessions, more_bits, dirt)
    doubled = np.flatnonzero(streams.lanes(sessions.key)[:, 2] < streams.lane_share(dirt.duplicates))
    delivered = np.concatenate([rows, orphans, early, rows[doubled]])
    extra = np.zeros(len(orphans) + len(early), dtype=delay.dtype)
    delay = np.concatenate([delay, extra, delay[doubled]])
    return [delivered[delay == days] for days in range(LATEST_DAYS + 1)]


def _delays(sessions: Sessions, dirt: Dirt) -> NDArray[np.uint16]:
    lane = streams.lanes(sessions.key)[:, 1]
    return np.where(lane < streams.lane_share(dirt.late), 1 + lane % LATEST_DAYS, 0).astype(np.uint16)


def _with_wrong_values(sessions: Sessions, more_bits: streams.Keys, dirt: Dirt) -> NDArray[np.void]:
    rows = sessions.rows.copy()
    lane = streams.lanes(sessions.key)[:, 3]
    absurd = np.flatnonzero(lane < streams.lane_share(dirt.absurd_durations))
    rows["duration"][absurd] = ABSURD_SECONDS[lane[absurd] % len(ABSURD_SECONDS)]
    missing = streams.lanes(more_bits)
    share = streams.lane_share(dirt.missing_attributes)
    rows["duration"][missing[:, 0] < share] = MISSING_DURATION
    rows["device"][missing[:, 1] < share] = MISSING_DEVICE
    return rows


def _orphans(rows: NDArray[np.void], more_bits: streams.Keys, dirt: Dirt) -> NDArray[np.void]:
    """Extra rows of users that the company does not know, copied from real sessions."""
    lane = streams.lanes(more_bits)[:, 2]
    chosen = np.flatnonzero(lane < streams.lane_share(dirt.orphans))
    orphans = rows[chosen]
    orphans["event_id"] |= ORPHAN_FLAG
    orphans["user_id"] = FIRST_ORPHAN_ID + more_bits[chosen] % ORPHAN_IDS
    return orphans


def _before_signup(
    day: int, rows: NDArray[np.void], sessions: Sessions, more_bits: streams.Keys, dirt: Dirt
) -> NDArray[np.void]:
    """Visits 1 to 3 days before the signup, which the platform assigns to the user on the signup day."""
    lane = streams.lanes(more_bits)[:, 3]
    days_before = (1 + lane % LATEST_DAYS).astype(np.int64)
    chosen = (lane < streams.lane_share(dirt.before_signup)) & sessions.is_first & (days_before <= day)
    early = rows[chosen]
    early["event_id"] |= BEFORE_SIGNUP_FLAG
    early["at"] -= days_before[chosen] * DAY_SECONDS
    return early


def user_attributes(users: Population, dirt: Dirt) -> dict[str, NDArray[np.object_]]:
    """The attributes of users as the company recorded them: missing ones are null or an empty text."""
    lane = streams.lanes(streams.branch(users.key, "missing attributes"))
    share = streams.lane_share(dirt.missing_attributes)
    recorded = {
        "product_type": np.array(PRODUCTS, dtype=object)[users.product],
        "acquisition_channel": np.array(CHANNELS, dtype=object)[users.channel],
        "country": np.array(COUNTRIES, dtype=object)[users.country],
    }
    for number, values in enumerate(recorded.values()):
        values[(lane[:, number] < share) & (lane[:, 3] % 2 == 0)] = None
        values[(lane[:, number] < share) & (lane[:, 3] % 2 == 1)] = ""
    return recorded
