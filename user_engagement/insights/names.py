"""The words that insight tables speak in: kinds of findings, metrics, shapes of changes, and what losses count."""

BEHAVIOUR, MIX, ACQUISITION, MEASUREMENT = "behaviour", "mix", "acquisition", "measurement"

USE = "use"
"""Active days per user who has signed up: what all links between staying and being active add up to."""
ACTIVE_USERS, RETENTION, CHURN, RESURRECTION = "active_users", "retention", "churn", "resurrection"
FREQUENCY, SESSIONS, DURATION = "frequency", "sessions_per_day", "session_duration"
LENGTH = "length"
"""Mean logarithm of a session's duration: what is scanned for changes of the duration."""
LENGTH_SCALE = 10.0
"""A change of the mean logarithm over this is the log ratio of `length`: so that groups of all levels change alike."""
SIGNUPS, ACTIVATION, NEW_USERS = "signups", "activation", "new_user_retention"
FIRST_DAYS = "first_days"
"""Active days per signup in the week of the signup, which has no whole week of exposure."""
OF_COHORTS = (SIGNUPS, ACTIVATION, NEW_USERS)

STEP, RAMP, SLOPE, EPISODE = "step", "ramp", "slope", "episode"

DAYS, PEOPLE = "active_days", "active_users"
