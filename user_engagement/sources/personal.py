"""What no source hands over unless asked by name."""

from __future__ import annotations

PERSONAL_COLUMNS = (
    *("name", "first_name", "last_name", "full_name", "given_name", "family_name", "surname", "username"),
    *("email", "e_mail", "mail", "email_address", "phone", "phone_number", "mobile", "telephone", "fax"),
    *("address", "street", "street_address", "date_of_birth", "birth_date", "birthday"),
    *("ip", "ip_address", "password", "password_hash", "ssn", "iban", "credit_card"),
)
"""Columns that name a person or guard an account, in lower case: never extracted unless a mapping or a segment
names them."""
