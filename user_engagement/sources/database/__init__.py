"""Source `database`: the raw tables as tables or views of a database that SQLAlchemy speaks to."""

from user_engagement.settings import TableMapping
from user_engagement.sources.database.source import DatabaseSource

__all__ = ["DatabaseSource", "TableMapping"]
