from __future__ import annotations

from dataclasses import replace

import numpy as np

from user_engagement.simulation.config import COUNTRIES
from user_engagement.simulation.people import MAIL_DOMAINS, POOL, name_pools, names_and_emails
from user_engagement.simulation.population import population
from user_engagement_tests.support.simulated_worlds import SMALL, day


def test_each_country_has_its_own_pool_of_names() -> None:
    first, last = name_pools()
    assert len(first) == len(last) == POOL * len(COUNTRIES)
    japan = COUNTRIES.index("JP")
    assert not any(name.isascii() for name in last[japan * POOL : (japan + 1) * POOL])


def test_addresses_are_unique_plain_ascii_and_lead_nowhere() -> None:
    users = population(replace(SMALL, users=5_000), day(99))
    names, emails = names_and_emails(users)
    assert any(not name.isascii() for name in names)
    assert len(set(emails)) == len(users)
    for email in emails:
        assert email.isascii()
        assert email.partition("@")[2] in MAIL_DOMAINS


def test_a_name_depends_on_its_user_alone() -> None:
    users = population(SMALL, day(99))
    chosen = np.array([200, 3, 77])
    names, emails = names_and_emails(users)
    assert names_and_emails(users.where(chosen)) == ([names[i] for i in chosen], [emails[i] for i in chosen])
