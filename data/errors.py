"""The mistakes a user can mend. Each ends a job with one message on stderr and exit code 2, never with a traceback."""


class ShardlineError(Exception):
    """What was found, what was expected, where, and what to do next: the message says all four."""


class DataError(ShardlineError):
    """Raw or prepared data that cannot be used: a path, a line, a part, a manifest."""


class ConfigError(ShardlineError):
    """A setting, or a combination of settings, that cannot work."""


class PlanError(ShardlineError):
    """No sharding plan exists, or a given plan does not fit the model or the ranks."""


class CheckpointError(ShardlineError):
    """A checkpoint that is damaged or belongs to another model."""
