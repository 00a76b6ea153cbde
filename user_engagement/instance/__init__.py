"""The Dagster instance of a home: its folder, event storage, run queue and run launcher."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "open_instance":
        # scripts outside the project import it from here; Dagster is imported for them alone
        from user_engagement.instance.home import open_instance

        return open_instance
    raise AttributeError(name)
