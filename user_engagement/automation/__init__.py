"""Jobs, sensors, checks and alerts: when the assets run, and who hears about a problem."""
