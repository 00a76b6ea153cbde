"""What ``workspace.yaml`` loads: the code location for the settings of the environment."""

import dagster as dg

from user_engagement.code_location import build_definitions
from user_engagement.interpreter import collect_less_often
from user_engagement.settings import get_settings

collect_less_often()
# its runs load few rows in many steps, for which a process each would take longer than the work
defs = dg.Definitions.merge(
    build_definitions(get_settings()), dg.Definitions(executor=dg.in_process_executor)
)
