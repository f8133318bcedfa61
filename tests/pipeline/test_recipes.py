"""Every shipped recipe parses and gets a plan: on prepared data for the tables of a small dataset, the others as they are."""

from pathlib import Path

import pytest
import yaml

from pipeline.cli import main
from pipeline.config import TrainConfig
from pipeline.settings import from_plain
from sharding_plans.files.plan_file import load
from tests.pipeline.job_runs import REPOSITORY

SHIPPED = {
    path.stem: yaml.safe_load(path.read_text()) for path in (REPOSITORY / "pipeline" / "configs").rglob("*.yaml")
}
RECIPES = {
    name: settings.get("train", settings)
    for name, settings in SHIPPED.items()
    if "model" in settings.get("train", settings)
}
FACTS = {
    # name: (tables' width, optimizer, rows a step)
    "mlperf_dlrm": (128, "sgd", 2048),
    "mlperf_dlrm_dcnv2": (128, "adagrad", 65536),
    "reference_kaggle": (16, "sgd", 128),
    "reference_terabyte": (64, "sgd", 2048),
    "bars_criteo_x1": (12, "adagrad", 4096),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_parses(name: str) -> None:
    assert from_plain(TrainConfig, RECIPES[name], name).model.ranker


@pytest.mark.parametrize("name", FACTS)
def test_a_recipe_gets_a_plan(name: str, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = from_plain(TrainConfig, RECIPES[name], name)
    path = tmp_path / "plan.json"
    settings = [f"--config={REPOSITORY / 'pipeline' / 'configs' / name}.yaml", f"--out={path}", "--ranks=8"]
    own_data = [] if config.data.source == "random" else [f"--data.path={prepared}"]

    assert main(["plan", *settings, "--hardware=h100_sxm_80gb", *own_data]) == 0

    plan = load(path)
    spec = plan.tables[0].spec
    assert (spec.embedding_dim, spec.optimizer, plan.local_batch_size * 8) == FACTS[name]
