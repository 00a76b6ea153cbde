"""Names and e-mail addresses: Faker fills small pools for each country, and users combine them."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from faker import Faker
from numpy.typing import NDArray

from user_engagement.simulation import streams
from user_engagement.simulation.config import COUNTRIES
from user_engagement.simulation.population import Population

LOCALES = {
    "US": "en_US",
    "GB": "en_GB",
    "DE": "de_DE",
    "FR": "fr_FR",
    "ES": "es_ES",
    "BR": "pt_BR",
    "IN": "en_IN",
    "JP": "ja_JP",
}
POOL = 128
MAIL_DOMAINS = ("example.com", "example.net", "example.org")
"""Reserved for documentation by RFC 2606, so no mail is ever delivered."""


def names_and_emails(users: Population) -> tuple[list[str], list[str]]:
    """A name and a unique e-mail address for each user."""
    first_pool, last_pool = name_pools()
    lane = streams.lanes(streams.branch(users.key, "name"))
    first_at = users.country.astype(np.intp) * POOL + lane[:, 0] % POOL
    last_at = users.country.astype(np.intp) * POOL + lane[:, 1] % POOL
    domain = np.array(MAIL_DOMAINS, dtype=object)[lane[:, 2] % len(MAIL_DOMAINS)]
    people = zip(first_pool[first_at], last_pool[last_at], users.user_id.tolist(), domain, strict=True)
    names, emails = [], []
    for first, last, user_id, at in people:
        names.append(f"{first} {last}")
        emails.append(f"{_ascii(first)}.{_ascii(last)}.{user_id}@{at}")
    return names, emails


@lru_cache(maxsize=1)
def name_pools() -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """POOL first names and POOL last names for each country, in the order of COUNTRIES."""
    first, last = [], []
    for country in COUNTRIES:
        faker = Faker(LOCALES[country], use_weighting=False)
        faker.seed_instance(f"names of {country}")
        first += [faker.first_name() for _ in range(POOL)]
        last += [faker.last_name() for _ in range(POOL)]
    return np.array(first, dtype=object), np.array(last, dtype=object)


@lru_cache(maxsize=4096)
def _ascii(name: str) -> str:
    folded = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    return "".join(letter for letter in folded if letter.isalnum()) or "user"
