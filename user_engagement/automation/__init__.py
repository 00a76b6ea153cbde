"""When the assets run."""
