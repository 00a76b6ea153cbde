"""The Dagster instance of a home: its folder, event storage, run queue and run launcher."""
