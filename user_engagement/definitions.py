"""What ``workspace.yaml`` loads: the code location for the settings of the environment."""

from user_engagement.code_location import build_definitions
from user_engagement.instance.gc_tuning import collect_less_often
from user_engagement.settings import get_settings

collect_less_often()
defs = build_definitions(get_settings())
