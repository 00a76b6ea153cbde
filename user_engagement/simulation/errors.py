from __future__ import annotations

from user_engagement.errors import UserError


class SimulationError(UserError):
    """A request that the simulated world cannot fulfil. The message names the value and what to do."""
