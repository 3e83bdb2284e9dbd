"""What the operator set: flags, MOTORPOOL_* variables, a TOML file, defaults."""

from motorpool_agent.config.sources import Config, ConfigError, load

__all__ = ["Config", "ConfigError", "load"]
