"""Source `warehouse`: tables that lie in the warehouse already, or beside it."""

from user_engagement.sources.warehouse.source import WarehouseSource
from user_engagement.sources.warehouse.tables import STAGE, SourceTables

__all__ = ["STAGE", "SourceTables", "WarehouseSource"]
