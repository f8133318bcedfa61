"""Which rankers are compared: YAML files to cross-validations on the same rows."""

import difflib
from argparse import ArgumentError
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from jsonargparse import ArgumentParser

import pipeline
from data.errors import ConfigError
from pipeline.config import CrossValidateConfig
from pipeline.leaderboard_config import LeaderboardConfig
from pipeline.settings import fingerprint, to_plain


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One ranker of the leaderboard: its name, which is its file's, and its cross-validation."""

    name: str
    config: CrossValidateConfig
    folds: Path
    """Where its prepared folds lie; rankers that prepare alike share them."""


def load_entries(config: LeaderboardConfig) -> list[Entry]:
    """The rankers in the order of their files; ConfigError where a file, a name or an override is not right."""
    files = {path.stem: path for path in _files(config.configs)}
    unknown = [name for name in config.rankers if name not in files]
    if unknown:
        close = difflib.get_close_matches(unknown[0], files, n=3, cutoff=0.4)
        names = [*close, *(name for name in files if name not in close)]
        raise ConfigError(f"rankers names {unknown[0]}, but the files are those of {', '.join(names)}.")
    return [_entry(config, name, files[name]) for name in config.rankers or files]


def _files(configs: tuple[str, ...]) -> list[Path]:
    found = []
    for given in configs:
        path = Path(given)
        path = path if path.exists() else Path(pipeline.__file__).parent / "configs" / given
        if not path.exists():
            raise ConfigError(
                f"configs names {given}, which is neither a file, a folder nor a folder of pipeline/configs."
            )
        found += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not found:
        raise ConfigError(f"no *.yaml in {', '.join(configs)}; it takes one YAML file of cross-validate per ranker.")
    return found


def _entry(config: LeaderboardConfig, name: str, path: Path) -> Entry:
    loaded = _loaded(path, config.overrides)
    out = Path(config.out)
    prepare = replace(loaded.prepare, source=config.source)
    changed = replace(
        loaded,
        prepare=prepare,
        train=replace(loaded.train, name=name),
        num_folds=config.num_folds,
        ranks=config.ranks,
        out=str(out / name),
    )
    return Entry(name=name, config=changed, folds=out / "folds" / fingerprint([to_plain(prepare), config.num_folds]))


def _loaded(path: Path, overrides: tuple[str, ...]) -> CrossValidateConfig:
    parser = _parser()
    try:
        chosen = parser.parse_args(["--config", str(path), *(f"--{setting}" for setting in overrides)])
        settings = parser.instantiate(chosen).as_dict()
    except ArgumentError as error:
        raise ConfigError(f"{path} with overrides {list(overrides)}: {error.message.strip()}") from error
    return CrossValidateConfig(**{key: value for key, value in settings.items() if key != "config"})


@cache
def _parser() -> ArgumentParser:
    """Made once: that takes longer than all files."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(CrossValidateConfig, None)
    return parser
