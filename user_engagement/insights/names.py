"""The words that insight tables speak in: kinds of findings, metrics, shapes of changes, and what losses count."""

BEHAVIOUR, MIX, ACQUISITION, MEASUREMENT = "behaviour", "mix", "acquisition", "measurement"

USE = "use"
"""Active days per user who has signed up: what all links between staying and being active add up to."""
ACTIVE_USERS, RETENTION, CHURN, RESURRECTION = "active_users", "retention", "churn", "resurrection"
FREQUENCY, SESSIONS, DURATION = "frequency", "sessions_per_day", "session_duration"
LENGTH = "length"
"""Mean logarithm of a session's duration: what is scanned for changes of the duration."""
SIGNUPS, ACTIVATION, NEW_USERS = "signups", "activation", "new_user_retention"
OF_COHORTS = (SIGNUPS, ACTIVATION, NEW_USERS)

STEP, RAMP, SLOPE, EPISODE = "step", "ramp", "slope", "episode"

DAYS, PEOPLE = "active_days", "active_users"
