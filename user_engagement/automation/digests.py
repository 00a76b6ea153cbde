"""A sensor that tells people about a new publication in which something has changed.

The message is the digest of the Overview. Figures of complete months and the causes decide whether it says something
new: the numbers that move a little with every day do not.
"""

from __future__ import annotations

import dagster as dg

from user_engagement import formatting
from user_engagement.automation.delivery import Alert, AlertRefusedError, Delivery
from user_engagement.settings import Settings


def digest_sensor(settings: Settings, delivery: Delivery) -> dg.SensorDefinition:
    """Posts the digest of each publication whose headline, figures or causes are not those of the last one posted.

    While the receiver cannot be reached, the tick fails and the next one tries again. A refused digest is not repeated.
    """

    @dg.sensor(
        name=settings.dagster_name("digest_of_changes"),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Posts headline, figures, causes and links after a publication in which something has changed.",
    )
    def digest_of_changes(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        # pandas is imported for the publication that needs it, not for every process that loads the code location
        from user_engagement.dashboard.data import UnavailableError, open_generation
        from user_engagement.dashboard.digest import digest, essence

        try:
            generation = open_generation(settings.published_dir)
            formatting.use_labels(settings.labels)
            said = essence(generation)
            if said == context.cursor:
                return dg.SkipReason(
                    f"Generation {generation.manifest.generation} says what was posted before."
                )
            text = digest(generation, settings.dashboard_address)
        except UnavailableError as problem:
            return dg.SkipReason(str(problem))
        alert = Alert(
            kind="digest",
            severity="info",
            title=text.splitlines()[0].strip("*"),
            text=text,
            occurred_at=generation.published_at,
            run_id=generation.manifest.run_id,
        )
        try:
            delivery.deliver(alert, context.log)
        except AlertRefusedError as error:
            context.update_cursor(said)
            return dg.SkipReason(str(error))
        context.update_cursor(said)
        return dg.SkipReason(f"Posted the digest of generation {generation.manifest.generation}.")

    return digest_of_changes
