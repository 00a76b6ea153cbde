"""Who may see the dashboard, if it asks for a login."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import streamlit as st


def is_admitted(user: Mapping[str, Any], allowed: Sequence[str]) -> bool:
    """Whether the identity provider vouches for an address that is allowed.

    An address that its owner could have chosen freely (``email_verified`` false) is none.
    """
    address = str(user.get("email") or "").lower()
    verified = user.get("email_verified", True) in (True, "true", "True")
    return verified and any(fnmatchcase(address, pattern) for pattern in allowed)


def admit(allowed: Sequence[str]) -> None:
    """Goes on for who is admitted; shows the login to everybody else and ends the view."""
    if not allowed:
        return
    if not st.user.get("is_logged_in", False):
        st.title("User engagement")
        st.button("Log in", type="primary", on_click=st.login)
        st.stop()
    if not is_admitted(st.user.to_dict(), allowed):
        st.title("User engagement")
        st.error(f"{st.user.get('email')} may not see this dashboard. Ask whoever runs it.")
        st.button("Log out", on_click=st.logout)
        st.stop()
    with st.sidebar:
        st.button(f"Log out {st.user.get('email')}", on_click=st.logout)
