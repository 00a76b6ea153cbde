"""The planted causes: what changed in the simulated company, when, for whom, and by how much.

Each story is a frozen dataclass whose defaults are the dates and sizes of the default world; None in
`Stories` switches it off. The docstring of the package lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from user_engagement.simulation.errors import SimulationError

PAID_CHANNEL = "paid_social"
"""The channel whose users do not stay, in every world; in the `ChannelMix` story its share grows."""


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise SimulationError(f"stories.{name} is {share}: give a share between 0 and 1.")


@dataclass(frozen=True)
class Planted:
    """One planted story: `size` is the factor on `measure` for `segment` from `begins` on.

    The size of `channel_mix` is not a factor but the channel's share of signups from `ends` on.
    """

    story: str
    begins: date
    ends: date | None
    segment: dict[str, str]
    measure: str
    size: float
    cause: str


@dataclass(frozen=True)
class MobileRelease:
    """From `begins` on, the share `session_cut` of the sessions on phones no longer takes place."""

    begins: date = date(2026, 5, 4)
    session_cut: float = 0.40

    def __post_init__(self) -> None:
        _check_share("mobile_release.session_cut", self.session_cut)

    def planted(self) -> Planted:
        return Planted(
            story="mobile_release",
            begins=self.begins,
            ends=None,
            segment={"device_type": "phone"},
            measure="sessions",
            size=1 - self.session_cut,
            cause="A mobile release made phone sessions rarer.",
        )


@dataclass(frozen=True)
class ChannelMix:
    """Paid social grows to `share` of the signups, in a straight line from `begins` to `ends`."""

    begins: date = date(2025, 7, 1)
    ends: date = date(2026, 7, 1)
    share: float = 0.42

    def __post_init__(self) -> None:
        _check_share("channel_mix.share", self.share)
        if self.ends <= self.begins:
            raise SimulationError(f"stories.channel_mix.ends {self.ends} is not after begins {self.begins}.")

    def planted(self) -> Planted:
        return Planted(
            story="channel_mix",
            begins=self.begins,
            ends=self.ends,
            segment={"acquisition_channel": PAID_CHANNEL},
            measure="share of signups",
            size=self.share,
            cause="A channel whose users do not stay brings a growing share of the signups.",
        )


@dataclass(frozen=True)
class OnboardingChange:
    """Users who sign up from `begins` on are less likely to be activated, by the share `activation_cut`."""

    begins: date = date(2026, 2, 2)
    activation_cut: float = 0.40

    def __post_init__(self) -> None:
        _check_share("onboarding_change.activation_cut", self.activation_cut)

    def planted(self) -> Planted:
        return Planted(
            story="onboarding_change",
            begins=self.begins,
            ends=None,
            segment={"signup_date": f"from {self.begins.isoformat()}"},
            measure="probability of week-1 activation",
            size=1 - self.activation_cut,
            cause="A new onboarding activates fewer users in their first week; users who are not activated leave.",
        )


@dataclass(frozen=True)
class PriceChange:
    """From `begins` on, `hazard_factor` multiplies the hazard of cancelling in each new billing period."""

    begins: date = date(2026, 3, 2)
    product_type: str = "standard"
    hazard_factor: float = 2.5

    def __post_init__(self) -> None:
        if not 1 <= self.hazard_factor <= 20:
            raise SimulationError(
                f"stories.price_change.hazard_factor is {self.hazard_factor}: give a factor from 1 to 20."
            )

    def planted(self) -> Planted:
        return Planted(
            story="price_change",
            begins=self.begins,
            ends=None,
            segment={"product_type": self.product_type},
            measure="hazard of declared churn per billing period",
            size=self.hazard_factor,
            cause="A price change made users of one product cancel, from their next renewal on.",
        )


@dataclass(frozen=True)
class Stories:
    """Which stories take place; None is off."""

    mobile_release: MobileRelease | None = MobileRelease()
    channel_mix: ChannelMix | None = ChannelMix()
    onboarding_change: OnboardingChange | None = OnboardingChange()
    price_change: PriceChange | None = PriceChange()

    @classmethod
    def none(cls) -> Stories:
        return cls(**dict.fromkeys((story.name for story in fields(cls)), None))

    def planted(self) -> list[Planted]:
        """The stories that take place, in the order in which they begin."""
        stories: list[Any] = [getattr(self, story.name) for story in fields(self)]
        return sorted(
            (story.planted() for story in stories if story is not None), key=lambda each: each.begins
        )
