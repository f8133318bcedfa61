"""Settings to plain data and back: what is saved with a run is what a later job reads."""

import hashlib
import json
from argparse import ArgumentError
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser

from data.errors import ConfigError

T = TypeVar("T")


def to_plain(config: Any) -> dict[str, Any]:
    """A config dataclass as dicts, lists and scalars, the form of its YAML and JSON."""
    return json.loads(json.dumps(asdict(config)))


def from_plain(config_class: type[T], plain: dict[str, Any], origin: str) -> T:
    """The config that `to_plain` gave `plain`; ConfigError naming `origin` where a key or value does not fit any more."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(config_class, None)
    try:
        return config_class(**parser.instantiate(parser.parse_object(plain)).as_dict())
    except (ArgumentError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{origin} does not hold settings that this version understands: {error}") from error


def save_yaml(config: Any, path: Path) -> None:
    """Write the resolved settings, every key with its value."""
    path.write_text(yaml.safe_dump(to_plain(config), sort_keys=False))


def fingerprint(plain: Any) -> str:
    """Sixteen hex digits that change when anything in `plain` (JSON-able) does."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
