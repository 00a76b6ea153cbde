"""The old place of `PooledRunCoordinator`, which the ``dagster.yaml`` of existing homes and deployments names."""

from user_engagement.instance.run_coordinator import PooledRunCoordinator

__all__ = ["PooledRunCoordinator"]
