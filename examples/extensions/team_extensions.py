"""A kind of source and a way of alerts of a team's own."""

import json
import logging
from pathlib import Path

from user_engagement.automation.delivery import Alert, DeliveryError
from user_engagement.settings import Settings, TableMapping
from user_engagement.sources import Source, rules_of
from user_engagement.sources.database import DatabaseSource

TABLES = {
    # a view of the app's database, which adds each customer's plan from the table `accounts`
    "user_signups": TableMapping("customers_with_plan", {"user_id": "customer", "signup_date": "joined_at"}),
    "user_engagement": TableMapping(
        "visits",
        {
            "user_id": "customer",
            "engagement_date": "visited_at",
            "session_duration": "seconds",
            "interaction_type": "what",
        },
    ),
    "churn_data": TableMapping("cancellations", {"user_id": "customer", "churn_date": "cancelled_at"}),
}


def app_database(settings: Settings) -> Source:
    """The app's SQLite file, under the names that its tables have."""
    return DatabaseSource(
        f"sqlite:///{settings.source_path}", settings.timezone, TABLES, set(), rules_of(settings)
    )


class IncidentFile:
    """Appends alerts to a file in the home, which another system watches."""

    def __init__(self, settings: Settings) -> None:
        self.file: Path = settings.home / "incidents.jsonl"

    def deliver(self, alert: Alert, log: logging.Logger) -> None:
        try:
            with self.file.open("a") as file:
                file.write(json.dumps(alert.as_json()) + "\n")
        except OSError as error:
            raise DeliveryError(f"{self.file} cannot be written to ({error.strerror}).") from None
