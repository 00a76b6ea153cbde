"""A simulated company: source systems like those of a real company, with known causes in their data.

Signups grow by 3.5 % a month, and engagement per user falls. There are four planted causes. `Stories` can
switch each of them off, or change its dates and size:

=================  ======================  =======================  ========================================
story              from                    where                    size
=================  ======================  =======================  ========================================
channel_mix        2025-07-01 (straight    acquisition_channel      share of signups 6 % -> 42 %; there,
                   line to 2026-07-01)     paid_social              silent lifetimes are always x 0.2
onboarding_change  2026-02-02              users who sign up from   probability of week-1 activation x 0.6;
                                           then on                  not activated: lifetimes x 0.12
price_change       2026-03-02 (from each   product_type standard    hazard of declared churn x 2.5
                   user's next renewal)
mobile_release     2026-05-04              device_type phone        sessions x 0.6
=================  ======================  =======================  ========================================

With every story off, engagement per active user stays level. `Dirt` sets which errors the data have, and
how often. The same configuration gives the same world, byte for byte, in one step or day by day.

The pipeline does not import this package. It reads the simulated source systems as it reads real ones.
"""

from user_engagement.simulation.config import Dirt, WorldConfig
from user_engagement.simulation.errors import SimulationError
from user_engagement.simulation.files import write_files
from user_engagement.simulation.lifetimes import declared_survival
from user_engagement.simulation.snowplow import emit, write_snowplow
from user_engagement.simulation.stories import (
    ChannelMix,
    MobileRelease,
    OnboardingChange,
    Planted,
    PriceChange,
    Stories,
)
from user_engagement.simulation.truth import Truth, truth
from user_engagement.simulation.world import (
    Summary,
    advance,
    database_file,
    events_folder,
    load_config,
    reached,
)

__all__ = [
    "ChannelMix",
    "Dirt",
    "MobileRelease",
    "OnboardingChange",
    "Planted",
    "PriceChange",
    "SimulationError",
    "Stories",
    "Summary",
    "Truth",
    "WorldConfig",
    "advance",
    "database_file",
    "declared_survival",
    "emit",
    "events_folder",
    "load_config",
    "reached",
    "truth",
    "write_files",
    "write_snowplow",
]
