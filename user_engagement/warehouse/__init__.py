"""Where the tables live: raw slices in, marts out."""
