"""The Dagster instance of a home: where it lies, how it stores events, queues runs and starts them."""
