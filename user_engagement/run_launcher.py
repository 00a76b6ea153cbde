"""The old place of `LocalRunLauncher`, which the ``dagster.yaml`` of existing homes and deployments names."""

from user_engagement.instance.run_launcher import LocalRunLauncher, host_tag

__all__ = ["LocalRunLauncher", "host_tag"]
