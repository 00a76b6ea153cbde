"""A run queue whose pools are limited from the first run on.

Dagster's own learns of a pool when it looks through the queue for the first time, and lets everything through that
it finds there: two runs that were queued together on a new instance would write to the warehouse at once.
"""

from __future__ import annotations

from dagster import DagsterRun, QueuedRunCoordinator, SubmitRunContext


class PooledRunCoordinator(QueuedRunCoordinator):
    """`QueuedRunCoordinator` that sets the default limit of a run's pools before it queues the run."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        concurrency = context.dagster_run.run_op_concurrency
        events = self._instance.event_log_storage
        if concurrency and concurrency.all_pools:
            for pool in set(concurrency.all_pools) - events.get_concurrency_keys():
                events.initialize_concurrency_limit_to_default(pool)
        return super().submit_run(context)
