"""Settings of the leaderboard. Light: the command line reads this before anything heavy is imported."""

from dataclasses import dataclass

from data.errors import ConfigError

SHIPPED = "kaggle_small"


@dataclass(frozen=True, kw_only=True)
class LeaderboardConfig:
    """Cross-validate several rankers on the same rows: a table of AUC, log loss, size and speed."""

    source: str = "artifacts/data/demo.tsv.gz"
    """Criteo-format rows, as `prepare` takes them; every ranker is trained and tested on the same folds of them."""
    configs: tuple[str, ...] = (SHIPPED,)
    """YAML files of `cross-validate`, one per ranker, folders of them, or folders of pipeline/configs by name."""
    rankers: tuple[str, ...] = ()
    """Only these, by the names of their files; empty: all."""
    overrides: tuple[str, ...] = ()
    """Settings of `cross-validate` over those of every file, each as `train.training.num_epochs=2`."""
    num_folds: int = 5
    """Number of folds; each is the test split once, and id maps are fitted anew on the rest."""
    out: str = "artifacts/leaderboard"
    """Directory for folds, runs and report; a ranker finished there, with equal settings and rows, is not trained again."""
    into: str | None = None
    """A Markdown file that gets the table between its lines `<!-- leaderboard NAME -->` and `<!-- end -->`."""
    name: str = "leaderboard"
    """Title of the report, and NAME in the Markdown file."""
    ranks: int = 1
    """Processes to train on; above 1, torchrun's launcher starts them here."""

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise ConfigError(f"ranks is {self.ranks}; it must be at least 1.")
        if self.num_folds < 2:
            raise ConfigError(f"num_folds is {self.num_folds}; cross-validation needs at least 2.")
        if not self.configs:
            raise ConfigError(f"configs is empty; name YAML files of cross-validate, or {SHIPPED} for those shipped.")
