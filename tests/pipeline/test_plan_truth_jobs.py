"""Measuring and calibrating through the command line: profile, ledger, reports, and what the data change."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.cli import main
from sharding_plans.files.plan_file import load
from sharding_plans.machines.hardware import read_profile
from sharding_plans.measuring.ledger import read
from tests.pipeline.forked_ranks import run_on_forked_ranks

SETTINGS = {
    "data": {
        "source": "random",
        "random": {
            "table_sizes": [50, 4000, 9000],
            "num_lookups": [1, 3, 9],
            "num_rows": 640,
            "ids_distribution": "zipf",
        },
    },
    "model": {"embedding_dim": 16, "dense_arch": [8, 16], "over_arch": [8, 1]},
    "optimizer": {"sparse": {"algorithm": "adagrad"}},
    "training": {"global_batch_size": 64},
    "device": "cpu",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a profile calibrated on two ranks, and two plans measured there with it."""
    folder = tmp_path_factory.mktemp("truth")
    (folder / "model.yaml").write_text(yaml.safe_dump(SETTINGS))
    few = ["--num_steps=2", "--warm_steps=1"]
    calibrate = ["calibrate", "--num_plans=4", *few, f"--out={folder}/machine.yaml", f"--ledger={folder}/probes.jsonl"]
    assert run_on_forked_ranks(calibrate, 2, folder / "calibrate.log") == [0, 0], (folder / "calibrate.log").read_text()
    measure = ["measure-plans", f"--config={folder}/model.yaml", "--ranks=2", *few, f"--hardware={folder}/machine.yaml"]
    measure += ["--strategies=table_wise,row_wise", f"--ledger={folder}/ledger.jsonl", f"--out={folder}/measured"]
    assert run_on_forked_ranks(measure, 2, folder / "measure.log") == [0, 0], (folder / "measure.log").read_text()
    return folder


def test_calibrating_writes_a_profile_that_names_what_it_was_fitted_to(made: Path):
    calibration = read_profile(made / "machine.yaml").calibration
    assert calibration is not None
    assert set(calibration["collectives"]["2"]) == {"all_to_all", "reduce_scatter", "all_gather", "all_reduce"}
    records, problems = read(made / "probes.jsonl")
    assert problems == []
    fitted_to = calibration["origin"]["2"]["plans_fitted_to"]
    assert fitted_to == [record.plan_fingerprint for record in records]
    assert len(fitted_to) == 16 + 4
    assert calibration["costs"]["2"]["lookup"]


def test_measured_plans_are_in_the_ledger_with_both_estimates_and_in_the_report(made: Path):
    records, _ = read(made / "ledger.jsonl")
    assert [record.plan_name for record in records] == ["table_wise", "row_wise"]
    for record in records:
        assert set(record.estimates) == {"torchrec", "calibrated"}
        assert record.data["ids_per_bag"]["C3"] > 4
        assert load(made / "measured" / "plans" / f"{record.plan_name}.json").fingerprint == record.plan_fingerprint
    page = (made / "measured" / "report.md").read_text()
    assert "Estimated and measured" in page
    assert "Judged by 2 plans that no calibration was fitted to" in page


def test_a_comparison_holds_its_plans_against_the_ledger_and_says_what_the_data_change(made: Path):
    out = made / "comparison"
    compare = ["compare-plans", f"--config={made}/model.yaml", f"--clusters=2x{made}/machine.yaml", "--what_if=false"]
    compare += ["--strategies=table_wise,row_wise", f"--ledger={made}/ledger.jsonl", f"--out={out}"]
    assert main([*compare, "--reserved_fraction=0.15"]) == 0
    sections = {each["title"]: each for each in json.loads((out / "report.json").read_text())["sections"]}
    figure = next(each for each in sections["Estimated and measured"]["blocks"] if each["kind"] == "figure")
    assert set(figure["data"]["plans"]) == {"table_wise", "row_wise"}
    assert len(figure["data"]["calibrated"]) == len(figure["data"]["measured_ms"])
    facts = next(each for each in sections["What the data change"]["blocks"] if each["kind"] == "table")
    assert max(row[2] for row in facts["rows"]) > 4  # ids a row of C3
    assert main([*compare, "--data_statistics=false"]) == 0
    assert "What the data change" not in (out / "report.md").read_text()


def test_a_damaged_ledger_is_told_and_a_wrong_profile_is_one_message(made: Path, capsys: pytest.CaptureFixture[str]):
    damaged = made / "damaged.jsonl"
    damaged.write_bytes((made / "ledger.jsonl").read_bytes() + b"{half\n")
    compare = ["compare-plans", f"--config={made}/model.yaml", f"--clusters=2x{made}/machine.yaml", "--what_if=false"]
    assert main([*compare, "--strategies=table_wise", f"--ledger={damaged}", f"--out={made}/other"]) == 0
    assert "line 3, is no record and was skipped" in capsys.readouterr().out
    broken = made / "broken.yaml"
    broken.write_text((made / "machine.yaml").read_text().replace("cache_mib", "cash_mib"))
    assert main(["plan", f"--config={made}/model.yaml", f"--hardware={broken}", "--ranks=2"]) == 2
    assert "calibration is damaged" in capsys.readouterr().err


def test_a_plan_says_what_it_owes_to_the_data(made: Path, capsys: pytest.CaptureFixture[str]):
    plan = ["plan", f"--config={made}/model.yaml", f"--hardware={made}/machine.yaml", "--ranks=2"]
    assert main([*plan, f"--out={made}/plan.json"]) == 0
    assert "statistics of the data" in capsys.readouterr().out
    spec = load(made / "plan.json").tables[1].spec
    assert spec.is_ordered
    assert spec.top_shares[0][0] == 1
