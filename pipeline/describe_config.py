"""Settings of `describe`. Light: the command line reads this before anything heavy is imported."""

from dataclasses import dataclass

from pipeline.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class DescribeConfig(TrainConfig):
    """Describe the ranker of a training job's YAML: sizes by part, arithmetic and memory traffic per sample, a picture."""

    out: str | None = None
    """Directory for the model card (model.html, .md, .json) and its picture (architecture.svg); none: only the text on stdout."""
