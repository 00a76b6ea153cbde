"""The Streamlit app: `user-engagement dashboard` runs this file."""

from __future__ import annotations

from user_engagement.dashboard.rendering import main

main()
