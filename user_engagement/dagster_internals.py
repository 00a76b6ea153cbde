"""Names that Dagster does not export, each with the reason why this project needs it.

No other module imports private names of Dagster. `pyproject.toml` pins the version, and a test lists the names that an
upgrade has moved.
"""

# The command line runs jobs in this process, on the home's instance and over a range of months, and shows events as
# they happen: `execute_in_process` returns at the end, `execute_job` wants a job that another process can import.
# The web server and the daemon of `user-engagement dev` start as a process group of their own through Dagster's CLI.
from dagster._cli import main as dagster_cli

# Annotations: the type of `repository_def.asset_graph`, of freshness states, and of what a run failure sensor returns.
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateRecord
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.run_request import DagsterRunReaction

# What the launcher catches when a code server on another host does not answer.
from dagster._core.errors import DagsterUserCodeUnreachableError

# The event log that stores events in batches: its base class and table, and the types of events of assets and checks.
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.execution.api import execute_run_iterator

# The command line overrides the instance in `dagster.yaml`: its runs keep no compute logs and store events in batches.
from dagster._core.instance.ref import InstanceRef

# The types that a launcher returns when it checks whether the process of a run is alive.
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus

# Completed check evaluations, as opposed to planned ones: the records have no public query.
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
)
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

# The arguments of the type handlers of dagster-duckdb-pandas and dagster-snowflake-pandas.
from dagster._core.storage.db_io_manager import TablePartitionDimension, TableSlice
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

# The tags in which Dagster stores the months, the code server and the retries of a run.
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    GRPC_INFO_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)

# The question of the launcher to such a code server: does it still have the process of a run?
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "ASSET_CHECK_EVENTS",
    "ASSET_EVENTS",
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES",
    "GRPC_INFO_TAG",
    "NOT_FINISHED_STATUSES",
    "PARTITION_NAME_TAG",
    "WILL_RETRY_TAG",
    "AssetCheckExecutionRecord",
    "AssetGraph",
    "CanCancelExecutionRequest",
    "CanCancelExecutionResult",
    "CheckRunHealthResult",
    "DagsterRunReaction",
    "DagsterUserCodeUnreachableError",
    "FreshnessState",
    "FreshnessStateRecord",
    "InMemoryJob",
    "InstanceRef",
    "LaunchRunContext",
    "SerializableErrorInfo",
    "SqlEventLogStorageTable",
    "SqliteEventLogStorage",
    "TablePartitionDimension",
    "TableSlice",
    "WorkerStatus",
    "dagster_cli",
    "execute_run_iterator",
]
