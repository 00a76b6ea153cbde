"""What no source hands over unless asked by name."""

from __future__ import annotations

PERSONAL_COLUMNS = (
    *("name", "first_name", "last_name", "full_name", "given_name", "family_name", "surname", "username"),
    *("firstname", "lastname", "fullname", "user_name", "customer_name", "contact_name", "display_name"),
    *(
        "email",
        "e_mail",
        "mail",
        "email_address",
        "emailaddress",
        "user_email",
        "customer_email",
        "contact_email",
    ),
    *("phone", "phone_number", "phonenumber", "mobile", "mobile_phone", "telephone", "fax"),
    *(
        "address",
        "street",
        "street_address",
        "date_of_birth",
        "dateofbirth",
        "birth_date",
        "birthdate",
        "birthday",
    ),
    *("ip", "ip_address", "ipaddress", "password", "password_hash", "ssn", "iban", "credit_card"),
)
"""Columns that name a person or guard an account, in lower case: never extracted unless a mapping or a segment
names them."""
