from __future__ import annotations

from user_engagement.errors import UserError


class SimulationError(UserError):
    """A request the simulated world cannot honour. The message names the value found and the way out."""
