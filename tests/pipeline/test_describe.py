"""The model card as files, and the picture of every architecture."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from models.card import model_card
from pipeline.cli import main
from pipeline.reports.architecture import architecture_svg, boxes_of
from tests.models.ranker_formulas import CONFIGS, SCHEMA

RANDOM = ["--data.source=random", "--data.random.table_sizes=[50,40]"]


def test_describe_prints_the_card_and_writes_page_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["describe", *RANDOM, "--model.ranker=deepfm", "--model.embedding_dim=4", f"--out={tmp_path}"]) == 0
    # 90 rows of four columns, two of them read for a sample: 32 bytes; as much again for the first-order terms.
    assert "embeddings (2 tables)" in capsys.readouterr().out
    results = json.loads((tmp_path / "model.json").read_text())["results"]
    assert (results["model/table_parameters"], results["model/embedding_bytes_per_sample"]) == (720, 64)
    assert "over_arch" in (tmp_path / "architecture.svg").read_text()
    assert "What is computed" in (tmp_path / "model.md").read_text()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_picture_shows_every_part_and_stays_in_its_frame(name: str) -> None:
    card = model_card(CONFIGS[name], SCHEMA)
    svg = architecture_svg(card)
    words = "".join(ElementTree.fromstring(svg).itertext())
    boxes = boxes_of(card)
    assert all(box.title in words for box in boxes.values())
    assert all(part.name in boxes for part in card.parts if part.inputs)
