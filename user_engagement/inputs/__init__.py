"""What results are made from: the source, the settings and the code, as fingerprints. Nothing here needs Dagster."""
