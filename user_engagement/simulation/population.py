"""The users, with everything about them that does not change from day to day."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy import special

from user_engagement.simulation import growth, lifetimes, streams
from user_engagement.simulation.config import CHANNELS, COUNTRIES, PRODUCTS, WorldConfig
from user_engagement.simulation.stories import PAID_CHANNEL, ChannelMix
from user_engagement.simulation.streams import Keys

DEVICES = ("phone", "desktop", "tablet")
MAIN_DEVICE = (0.60, 0.32, 0.08)
CHURN_REASONS = ("too_expensive", "missing_features", "not_using", "switched", "other")
REASON_SHARES = (0.18, 0.22, 0.30, 0.16, 0.14)

RATE_SHAPE = 1.4
MEAN_RATE = {"basic": 0.50, "standard": 0.60, "premium": 0.80}
"""Sessions a day of an activated user in the first weeks."""
ACTIVATION = 0.66
"""The probability of being activated in the first week, without the onboarding story."""

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Population:
    """One row per user in order of signup; days are numbered from the world's start, seconds from midnight.

    A user is active from `signup_day` to the day before `gone_day`, and from `return_day` to the day before
    `second_gone_day`.
    """

    user_id: NDArray[np.int64]
    key: Keys
    signup_day: NDArray[np.int32]
    signup_second: NDArray[np.int32]
    product: NDArray[np.uint8]
    channel: NDArray[np.uint8]
    country: NDArray[np.uint8]
    main_device: NDArray[np.uint8]
    activated: NDArray[np.bool_]
    rate: NDArray[np.float32]
    silent_day: NDArray[np.int32]
    declared_day: NDArray[np.int32]
    declared_second: NDArray[np.int32]
    churn_reason: NDArray[np.uint8]
    gone_day: NDArray[np.int32]
    return_day: NDArray[np.int32]
    second_gone_day: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.user_id)

    def where(self, selection: NDArray[np.bool_] | NDArray[np.integer] | slice) -> Population:
        """The selected users, in the order of the selection."""
        return Population(**{column.name: getattr(self, column.name)[selection] for column in fields(self)})

    def active_between(self, first: int, last: int) -> Population:
        """The users who may have a session on some day from `first` to `last`, both included."""
        first_spell = (self.signup_day <= last) & (self.gone_day > first)
        second_spell = (self.return_day <= last) & (self.second_gone_day > first)
        return self.where(first_spell | second_spell)


def population(config: WorldConfig, through: date) -> Population:
    """All users who sign up from the world's start through `through`.

    A later `through` adds users at the end and does not change earlier ones.
    """
    user_id, key, signup_day, signup_second = _signups(config, through)
    product = _choices(key, "product", _shares(config.product_shares, PRODUCTS))
    channel = _channels(config, key, signup_day)
    activated = streams.uniform(streams.branch(key, "activation")) < _activation(config, signup_day)
    silent_day = lifetimes.silent_days(key, signup_day, _dropout_scale(product, channel, activated))
    price_day, price_factor = _price_change(config, product)
    declared_day = lifetimes.cancellation_days(key, signup_day, product, price_day, price_factor)
    gone_day = np.minimum(silent_day, np.minimum(declared_day, lifetimes.NEVER - 1) + 1).astype(np.int32)
    return_chance = np.where(
        silent_day <= declared_day, lifetimes.RETURN_AFTER_SILENCE, lifetimes.RETURN_AFTER_CANCELLING
    )
    back = lifetimes.returns(key, gone_day, return_chance)
    cancels_in_second_spell = (declared_day >= back.begins) & (declared_day < back.ends)
    return Population(
        user_id=user_id,
        key=key,
        signup_day=signup_day,
        signup_second=signup_second,
        product=product,
        channel=channel,
        country=_choices(key, "country", _shares(config.country_shares, COUNTRIES)),
        main_device=_choices(key, "device", np.array(MAIN_DEVICE)),
        activated=activated,
        rate=_rates(key, product),
        silent_day=silent_day,
        declared_day=declared_day,
        declared_second=_seconds(streams.branch(key, "second of cancelling")),
        churn_reason=_reasons(key, declared_day >= price_day + lifetimes.BILLING_DAYS, price_factor),
        gone_day=gone_day,
        return_day=back.begins,
        second_gone_day=np.where(cancels_in_second_spell, declared_day + 1, back.ends).astype(np.int32),
    )


def _signups(
    config: WorldConfig, through: date
) -> tuple[NDArray[np.int64], Keys, NDArray[np.int32], NDArray[np.int32]]:
    per_day = growth.signups(config, through)
    day = np.repeat(np.arange(len(per_day)), per_day)
    number_in_day = np.arange(len(day)) - np.repeat(np.cumsum(per_day) - per_day, per_day)
    day_key = streams.numbered(streams.stream_key(config.seed, "user"), day)
    key = streams.mix(day_key + number_in_day.astype(np.uint64) * streams.GOLDEN)
    second = _seconds(streams.branch(key, "second of signup"))
    in_order_of_time = second[np.lexsort((second, day))]
    return np.arange(1, len(day) + 1), key, day.astype(np.int32), in_order_of_time


def _channels(config: WorldConfig, key: Keys, signup_day: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Paid social is drawn first, so that its growth takes users from the other channels without mixing these up."""
    shares = _shares(config.channel_shares, CHANNELS)
    paid = CHANNELS.index(PAID_CHANNEL)
    paid_share = shares[paid] / shares.sum()
    others = shares.copy()
    others[paid] = 0
    channel = _choices(key, "channel", others) if others.any() else np.full(len(key), paid, dtype=np.uint8)
    drawn = streams.uniform(streams.branch(key, "paid channel"))
    story = config.stories.channel_mix
    share = paid_share if story is None else _growing_share(config, story, paid_share, signup_day)
    return np.where(drawn < share, paid, channel).astype(np.uint8)


def _growing_share(
    config: WorldConfig, story: ChannelMix, before: float, signup_day: NDArray[np.int32]
) -> NDArray[np.float64]:
    days = [config.day_number(story.begins), config.day_number(story.ends)]
    return np.interp(signup_day, days, [before, story.share])


def _activation(config: WorldConfig, signup_day: NDArray[np.int32]) -> NDArray[np.float64]:
    story = config.stories.onboarding_change
    if story is None:
        return np.full(len(signup_day), ACTIVATION)
    changed = signup_day >= config.day_number(story.begins)
    return np.where(changed, ACTIVATION * (1 - story.activation_cut), ACTIVATION)


def _dropout_scale(
    product: NDArray[np.uint8], channel: NDArray[np.uint8], activated: NDArray[np.bool_]
) -> NDArray[np.float64]:
    scale = np.array([lifetimes.DROPOUT_SCALE[name] for name in PRODUCTS])[product]
    scale *= np.where(channel == CHANNELS.index(PAID_CHANNEL), lifetimes.STAY_OF_PAID_CHANNEL, 1.0)
    return scale * np.where(activated, 1.0, lifetimes.STAY_WHEN_NOT_ACTIVATED)


def _price_change(
    config: WorldConfig, product: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The day of the price change for each user (NEVER without one), and the factor on the hazard."""
    story = config.stories.price_change
    if story is None:
        return np.full(len(product), lifetimes.NEVER), np.ones(len(product))
    is_affected = product == PRODUCTS.index(story.product_type)
    day = np.where(is_affected, config.day_number(story.begins), lifetimes.NEVER)
    return day.astype(np.int32), np.where(is_affected, story.hazard_factor, 1.0)


def _reasons(
    key: Keys, after_price_change: NDArray[np.bool_], price_factor: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Churn reasons. One billing period after the price change, the cancellations that it causes name the price."""
    reason = _choices(key, "churn reason", np.array(REASON_SHARES))
    because_of_price = streams.uniform(streams.branch(key, "price as reason")) < 1 - 1 / price_factor
    reason[after_price_change & because_of_price] = CHURN_REASONS.index("too_expensive")
    return reason


def _rates(key: Keys, product: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Sessions a day: gamma-distributed over users, as in the NBD part of Schmittlein et al. (1987)."""
    mean = np.array([MEAN_RATE[name] for name in PRODUCTS])[product]
    drawn = special.gammaincinv(RATE_SHAPE, streams.uniform(streams.branch(key, "rate")))
    return (mean * drawn / RATE_SHAPE).astype(np.float32)


def _seconds(keys: Keys) -> NDArray[np.int32]:
    return np.floor(streams.uniform(keys) * DAY_SECONDS).astype(np.int32)


def _shares(shares: dict[str, float], known: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array([shares.get(name, 0.0) for name in known])


def _choices(key: Keys, stream: str, shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    bounds = np.cumsum(shares) / shares.sum()
    drawn = streams.uniform(streams.branch(key, stream))
    return np.searchsorted(bounds[:-1], drawn, side="right").astype(np.uint8)
