"""The configuration of a simulated world. Equal configurations give the same world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date, timedelta
from typing import Any

from user_engagement.simulation.errors import SimulationError
from user_engagement.simulation.stories import (
    ChannelMix,
    MobileRelease,
    OnboardingChange,
    PriceChange,
    Stories,
)

PRODUCTS = ("basic", "standard", "premium")
CHANNELS = ("organic", "search", "referral", "partner", "paid_social")
COUNTRIES = ("US", "GB", "DE", "FR", "ES", "BR", "IN", "JP")

LATEST_DAYS = 3
"""A late event is delivered at most this many days after it happened."""

LONGEST_WORLD = 3652
"""The maximum number of days in a world: ten years."""


@dataclass(frozen=True)
class Dirt:
    """How often each kind of dirt occurs; 0 switches a kind off.

    Shares are of engagement rows, except `before_signup` (of signups) and `missing_attributes`, which is
    the share of users lacking each of product_type, acquisition_channel and country, and the share of
    rows lacking each of session_duration and device_type.
    """

    duplicates: float = 0.01
    late: float = 0.02
    orphans: float = 0.005
    before_signup: float = 0.02
    absurd_durations: float = 0.004
    missing_attributes: float = 0.01

    def __post_init__(self) -> None:
        for name, share in asdict(self).items():
            if not 0 <= share <= 0.5:
                raise SimulationError(f"dirt.{name} is {share}: give a share between 0 and 0.5 (0 is off).")

    @classmethod
    def none(cls) -> Dirt:
        return cls(**{switch.name: 0.0 for switch in fields(cls)})


def _default_products() -> dict[str, float]:
    return {"basic": 0.35, "standard": 0.45, "premium": 0.20}


def _default_channels() -> dict[str, float]:
    return {"organic": 0.40, "search": 0.24, "referral": 0.20, "partner": 0.10, "paid_social": 0.06}


def _default_countries() -> dict[str, float]:
    return {"US": 0.34, "GB": 0.14, "DE": 0.13, "FR": 0.10, "ES": 0.07, "BR": 0.09, "IN": 0.08, "JP": 0.05}


@dataclass(frozen=True)
class WorldConfig:
    """A world, before any of it is written.

    `users` is the expected number of signups from `start` until the day before `reference_end`. Growth goes
    on after that day, so it only sets the scale. Shares need not add up to 1.

    Raises SimulationError, which names the field, for an invalid value.
    """

    seed: int = 7
    users: int = 20_000
    start: date = date(2025, 1, 1)
    reference_end: date = date(2026, 12, 1)
    dirt: Dirt = field(default_factory=Dirt)
    stories: Stories = field(default_factory=Stories)
    product_shares: dict[str, float] = field(default_factory=_default_products)
    channel_shares: dict[str, float] = field(default_factory=_default_channels)
    country_shares: dict[str, float] = field(default_factory=_default_countries)

    def __post_init__(self) -> None:
        if not 1 <= self.users <= 5_000_000:
            raise SimulationError(f"users is {self.users}: give a number from 1 to 5,000,000.")
        if self.reference_end <= self.start:
            raise SimulationError(f"reference_end {self.reference_end} is not after start {self.start}.")
        _check_shares("product_shares", self.product_shares, PRODUCTS)
        _check_shares("channel_shares", self.channel_shares, CHANNELS)
        _check_shares("country_shares", self.country_shares, COUNTRIES)
        price_change = self.stories.price_change
        if price_change is not None and price_change.product_type not in PRODUCTS:
            raise SimulationError(
                f"stories.price_change.product_type is {price_change.product_type!r}: "
                f"choose one of {', '.join(PRODUCTS)}."
            )

    def last_day_number(self, through: date) -> int:
        """The number of the day `through`.

        Raises SimulationError if that is before the start, or more than ten years after it.
        """
        number = self.day_number(through)
        if not 0 <= number < LONGEST_WORLD:
            raise SimulationError(
                f"The world cannot be simulated through {through}: "
                f"choose a day from {self.start} to {self.day(LONGEST_WORLD - 1)}."
            )
        return number

    def day_number(self, day: date) -> int:
        """Days from `start`, which is day 0."""
        return (day - self.start).days

    def day(self, number: int) -> date:
        return self.start + timedelta(days=int(number))


def _check_shares(name: str, shares: Mapping[str, float], known: tuple[str, ...]) -> None:
    unknown = sorted(set(shares) - set(known))
    if unknown:
        raise SimulationError(f"{name} has {', '.join(unknown)}: the simulator knows {', '.join(known)}.")
    if any(share < 0 for share in shares.values()) or sum(shares.values()) <= 0:
        raise SimulationError(f"{name} is {dict(shares)}: give shares of 0 or more, one of them positive.")


def config_to_json(config: WorldConfig) -> dict[str, Any]:
    """The configuration as plain JSON values; `config_from_json` is the inverse."""
    return _plain(asdict(config))


def config_from_json(stored: dict[str, Any]) -> WorldConfig:
    """The configuration that `config_to_json` wrote.

    Raises KeyError, TypeError or ValueError for any other value.
    """
    kinds = {
        "mobile_release": MobileRelease,
        "channel_mix": ChannelMix,
        "onboarding_change": OnboardingChange,
        "price_change": PriceChange,
    }
    stories = {
        name: None if values is None else kinds[name](**_dates(values))
        for name, values in stored["stories"].items()
    }
    return WorldConfig(**{**_dates(stored), "dirt": Dirt(**stored["dirt"]), "stories": Stories(**stories)})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return value.isoformat() if isinstance(value, date) else value


def _dates(values: dict[str, Any]) -> dict[str, Any]:
    days = {"start", "reference_end", "begins", "ends"}
    return {key: date.fromisoformat(value) if key in days else value for key, value in values.items()}
