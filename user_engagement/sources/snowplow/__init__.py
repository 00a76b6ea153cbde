"""Source `snowplow`: engagement from Snowplow enriched events.

The events are TSV files (`SnowplowSource`) or a table such as ``atomic.events`` (`SnowplowTableSource`). Both
fill the same scratch database, in which the same SQL turns events into one row per session:

- **Repeated events.** Of events with one ``event_id`` the first by ``collector_tstamp`` stays (then source
  order); the others are counted in ``duplicate_events`` of the session that the first one belongs to.
- **User.** ``user_id``, else the next login in the same session, else the one before, else the only user whom the
  device ever had, else none. Devices are known by ``domain_userid``, on mobile by the client session context.
  Stitching looks across all events, so a later login can give a user to sessions of an earlier month, whose
  `fingerprint` then changes.
- **Visit.** The events of one user and ``domain_sessionid`` (on mobile the client session's id) until the time-out
  passes without an event; one row for each day on which it has events. The first part of a session has the
  ``event_id`` ``<session>/<user>``, later ones have their time behind it; both stay the same when events are
  delivered again. Events without a session id make one row per user and day (no user: per device and day): a server
  that reports every action must not inflate sessions per user.
- **Pings alone.** A visit of page pings only adds neither a day nor time: its events count into the user's visit
  before it in the session, or, where there is none, it is a rejected row with reason ``stray_pings``.
- **Bots** are rejected rows with reason ``bot``, one for each session and day.
- **Time.** A row is dated by its first event (``derived_tstamp``, else ``collector_tstamp``, UTC moved into the
  configured zone) and made of all its events, whatever month is asked for. An event without a usable time counts into
  its session but moves neither end of it.
- **Duration.** ``engaged``, as Snowplow's unified package has it: for each page view with pings, heartbeat x
  (distinct heartbeat intervals with a ping - 1) + minimum visit. A ping is timed by the tracker, whose clock
  the heartbeat follows (``true_tstamp``, else ``dvce_created_tstamp``). Pings without a web page context,
  which names the view, do not count. A session without counted pings has its elapsed time: last minus first
  event. ``elapsed`` is that for every session. Null where nothing was measured: no pings and a single
  instant, or no session id, where first and last event of the day say nothing about a visit.
- **Interaction.** The session's most frequent event name, ties in alphabetical order. A structured event is
  named by its action (else category). Page and screen views count only where nothing else happened, page
  pings only where there was not even a view.
- **Device.** ``phone``, ``desktop``, ``tablet``, or what ``dvce_type`` says, of the first event that tells, from
  ``dvce_type``, the YAUAA context, ``dvce_ismobile``, ``useragent`` or ``platform``.

The rows of the table, for accounting, are sessions and broken lines. A line whose number of fields is not 131
tells neither user nor date: it is a rejected row with reason ``unparseable_date`` and the number of fields
found as its ``date_value``. A session none of whose events has a usable time is one rejected row. So

    lines = sum(events) + sum(duplicate_events) over all sessions + broken lines
"""

from user_engagement.sources.snowplow.files import SnowplowSource
from user_engagement.sources.snowplow.table import SnowplowTableSource

__all__ = ["SnowplowSource", "SnowplowTableSource"]
