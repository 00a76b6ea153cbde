"""A run queue that limits its pools from the first run on.

Dagster's coordinator sets the limit of a pool only after its first pass through the queue, which starts every run in
it. So two runs that were queued together on a new instance would write to the warehouse at the same time.
"""

from __future__ import annotations

from dagster import DagsterRun, QueuedRunCoordinator, SubmitRunContext
from sqlalchemy.exc import DBAPIError

from user_engagement.settings import load_settings

LOADS_POOL = "loads"


class PooledRunCoordinator(QueuedRunCoordinator):
    """`QueuedRunCoordinator` that sets the limits of a run's pools before it queues the run.

    That of the pool of raw extracts is the setting `PARALLEL_LOADS`; others get the instance's default.
    """

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
            if LOADS_POOL in concurrency.all_pools:
                events.set_concurrency_slots(LOADS_POOL, load_settings().parallel_loads)
        return super().submit_run(context)
