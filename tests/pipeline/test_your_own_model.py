"""docs/your_own_model.md works as it stands: its ranker computes its formula, trains, and has a card."""

import re
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
import torch

from models.build import build_ranker
from models.config import ModelConfig
from pipeline.cli import main
from tests.models.ranker_formulas import BAGS, DENSE, SCHEMA, multi_hot_ids
from tests.pipeline.job_runs import REPOSITORY, metrics_of

DOCUMENT = (REPOSITORY / "docs" / "your_own_model.md").read_text()
RANKER = "my_rankers:FieldWeightedFM"


@pytest.fixture(autouse=True)
def my_rankers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The document's Python on the path, as its reader saves it."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "my_rankers.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_rankers", None)


def test_its_ranker_computes_its_formula() -> None:
    config = ModelConfig(ranker=RANKER, embedding_dim=4, options={"pair_weight": 0.5})
    ranker = build_ranker(config, SCHEMA, device="cpu")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in ranker.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    p = dict(ranker.named_parameters())
    expected = []
    for x, bags in zip(DENSE, BAGS, strict=True):
        v = [p[f"ebc.embedding_bags.{name}.weight"][bag].sum(0) for name, bag in bags.items()]
        terms = [p[f"ebc.embedding_bags.{name}_first_order.weight"][bag].sum() for name, bag in bags.items()]
        pairs = [p["arch.pair_weights"][i, j] * (v[i] @ v[j]) for i, j in combinations(range(3), 2)]
        expected.append(p["arch.linear.bias"] + x @ p["arch.linear.weight"] + sum(terms) + sum(pairs))
    torch.testing.assert_close(ranker(DENSE, multi_hot_ids()), torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_its_commands_train_and_describe_it(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = re.search(r"shardline train (.*?)\n(?=shardline)", DOCUMENT, re.DOTALL)
    assert trained
    words = trained[1].replace("\\\n", " ").replace("'", "")
    settings = re.sub(r"--model.options \S+ \S+", '--model.options={"pair_weight":0.5}', words).split()
    small = ["--ranks=1", "--training.max_steps=3", "--training.eval_every_steps=null", "--device=cpu"]
    tiny = [
        *small,
        f"--data.path={prepared}",
        f"--runs_dir={tmp_path}",
        "--name=own",
        "--training.global_batch_size=240",
    ]
    assert main(["train", *settings, *tiny]) == 0
    assert 0 < metrics_of(tmp_path / "own")["test/auc"] < 1
    assert main(["describe", "--model.ranker", RANKER, f"--data.path={prepared}"]) == 0
    assert "325 weighted dot products of 26 fields" in capsys.readouterr().out
