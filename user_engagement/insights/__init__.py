"""Why engagement changes: statistics on compact counts, data frames in and out."""
