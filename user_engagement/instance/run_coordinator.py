"""A run queue that limits its pools from the first run on.

Dagster's coordinator sets the limit of a pool only after its first pass through the queue, which starts every run in
it. So two runs that were queued together on a new instance would write to the warehouse at the same time.
"""

from __future__ import annotations

from dagster import DagsterRun, QueuedRunCoordinator, SubmitRunContext
from sqlalchemy.exc import DBAPIError


class PooledRunCoordinator(QueuedRunCoordinator):
    """`QueuedRunCoordinator` that sets the default limit of a run's pools before it queues the run."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        concurrency = context.dagster_run.run_op_concurrency
        events = self._instance.event_log_storage
        if concurrency and concurrency.all_pools:
            for pool in set(concurrency.all_pools) - events.get_concurrency_keys():
                try:
                    events.initialize_concurrency_limit_to_default(pool)
                except DBAPIError:
                    # Dagster's PostgreSQL storage fails if another process sets the limit at the same time
                    if pool not in events.get_concurrency_keys():
                        raise
        return super().submit_run(context)
