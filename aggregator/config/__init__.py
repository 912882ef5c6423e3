"""What the service is told by files: settings, the assets file, the tariff and the clock, every fault named at once.

`settings` reads `v2g.toml` and the environment, `assets_file` with `sections` and `feeder` the site and all that stands
on it, `faults` says what is wrong. `meaning` puts it into the words of the rooms that work with it; it is imported from
its module, so that reading a file loads no planner.
"""

from aggregator.config.assets_file import AssetsFile
from aggregator.config.faults import ConfigError, ConfigFault
from aggregator.config.settings import Settings, check_config, load_clock, load_settings

__all__ = [
    "AssetsFile", "ConfigError", "ConfigFault", "Settings", "check_config", "load_clock", "load_settings",
]
