"""Sessions whose ids, dates and durations are written in all the ways that sources write them."""

from __future__ import annotations

from itertools import zip_longest

BLANKS = [" ", "\t", "\r\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u2009"]
IDS = [
    *("7", "007", "7.0", "7.", "1e+16", "1.2345678E7", "1e10", "3.50", "v1.0", "-1", "9007199254740993"),
    *(
        "nan",
        "NaT",
        "NULL",
        "N/A",
        "#N/A",
        "\\N",
        "",
        " ",
        "NA",
        "#NA",
        "-nan",
        "nana",
        "<b>",
        "0",
        "0.0",
        "0-0",
        "-",
        "0a",
    ),
    *("o'brien", "Zoë", "a\\b", "{3F2504E0}", *(f"{blank}u 1{blank}" for blank in BLANKS)),
]
DATES = [
    *("2025-03-01", "2025-03-01 23:59", "2025-03-01T23:59:59.999999", "2025-03-31t12:00:00z", "2024-02-29"),
    *(
        "2025-03-01T23:30:00+01:00",
        "2025-03-30 02:30:00 -0530",
        "2025-03-01 10:00:00UTC",
        "2025-03-01T10:00+09",
    ),
    *("2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", "2025-03-01T10:00:00.123Z", "\u00a02025-03-02\t"),
    *("2025-03-01\u202f10:00:00", "2025-03-01 \t10:00:00 GMT", "2025-03-01 10:00:00,5Z", "-0001-11-30", "0"),
    *(
        "2025-02-30",
        "2025-13-01",
        "soon",
        "31/12/2023",
        "20250301",
        "2025-3-1",
        "2025-03-01T25:00:00",
        "NA",
        "",
    ),
    *(
        "9999-12-31",
        "1900-01-01",
        "0000-00-00",
        "0001-01-01",
        "infinity",
        "1970-01-01T00:00:00Z",
        "12025-01-01",
    ),
]
NUMBERS = ["60", "61.5", "\u00a061.5\t", "1e3", "-5", "inf", "NaN", "N/A", "na", "", " ", "0"]


def session(user: str, day: str, seconds: str) -> dict[str, str]:
    known = {"user_id": user, "engagement_date": day, "session_duration": seconds}
    return known | {"interaction_type": user, "event_id": user, "page": f" {user}"}


ROWS = [session(u or "", d or "2025-03-05", s or "60") for u, d, s in zip_longest(IDS, DATES, NUMBERS)]
