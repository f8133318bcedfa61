import json
import re

import numpy as np
import pytest

from pipeline.metrics.evaluation import Decile
from pipeline.reports.charts import OTHER_TABLES, with_rest_added_up
from pipeline.reports.document import Figure, Note
from pipeline.reports.markdown import render_markdown
from pipeline.reports.page import render_page
from pipeline.reports.placement import Placement, placements, plan_blocks
from pipeline.reports.training import TrainingReport, share_of_the_way, training_report
from pipeline.reports.writing import write_report

METRICS = {
    "test/auc": 0.77,
    "test/auc_low": 0.76,
    "test/auc_high": 0.78,
    "test/logloss": 0.46,
    "test/ne": 0.82,
    "test/num_samples": 1000.0,
    "data/best_auc": 0.80,
    "data/best_logloss": 0.45,
    "perf/samples_per_s": 21_000.0,
}


def training_row(step: int) -> dict[str, float]:
    parts = {"time/data_ms": 1.0, "time/forward_ms": 30.0, "time/backward_ms": 45.0, "time/optimizer_ms": 4.0}
    rates = {"lr/sparse": 0.04, "lr/dense": 0.01}
    return {
        "step": step,
        "train/loss": 0.6 - step / 1000,
        "perf/samples_per_s": 2e4,
        "memory/rss_gib": 1.5,
        **rates,
        **parts,
    }


def placement(table: str, held: tuple[float, ...], spent: tuple[float, ...] | None = None) -> Placement:
    return Placement(
        table=table,
        sharding_type="table_wise",
        compute_kernel="fused",
        num_embeddings=100,
        embedding_dim=16,
        bytes_per_rank=held,
        ms_per_rank=spent or tuple(float(size > 0) for size in held),
    )


def a_run(**changes) -> TrainingReport:
    log = [training_row(step) for step in (50, 100, 150)]
    log += [{"step": step, "eval/auc": 0.7 + step / 2000, "eval/logloss": 0.5} for step in (50, 100)]
    deciles = [Decile(100, p, p * 1.1, p, p * 1.2) for p in np.linspace(0.05, 0.6, 10).tolist()]
    values = {"name": "demo", "metrics": METRICS, "log": log, "deciles": deciles, "settings": "ranks: 2\n"}
    plan = [placement("C1", (2.0**30, 0.0)), placement("C2", (0.0, 2.0**29))]
    return TrainingReport(**{**values, "plan": plan, "provenance": {"Seed": "0"}, **changes})


def figures(run: TrainingReport) -> dict[str, Figure]:
    return {
        block.name: block
        for section in training_report(run).sections
        for block in section.blocks
        if isinstance(block, Figure)
    }


def test_head_of_the_page_shows_the_way_to_the_best_auc():
    cards = {card.label: (card.value, card.note) for card in training_report(a_run()).cards}
    assert cards["Test AUC"] == ("0.7700", "95 % interval 0.7600\N{EN DASH}0.7800")
    assert cards["Of the way to the best AUC"] == ("90.0%", "from 0.5 to 0.8000")  # 0.27 / 0.30
    assert cards["Samples per second"][0] == "21,000"


@pytest.mark.parametrize("best", [None, 0.5])
def test_no_share_where_there_is_no_way_to_cover(best):
    metrics = {"test/auc": 0.5} | ({} if best is None else {"data/best_auc": best})
    assert share_of_the_way(metrics) is None


def test_every_figure_says_its_numbers_in_words():
    drawn = figures(a_run())
    assert list(drawn) == [
        "loss", "auc", "learning-rate", "calibration", "step-time", "speed", "plan-memory", "plan-time", "plan-heat",
    ]  # fmt: skip
    assert (
        drawn["loss"].alt
        == "Training loss goes from 0.5500 at step 50 to 0.4500 at step 150; the best possible is 0.4500."
    )
    assert drawn["auc"].alt == "AUC on val goes from 0.7250 to 0.7500; its highest is 0.7500 at step 100."
    assert "forward 30.0 ms" in drawn["step-time"].alt
    assert drawn["plan-memory"].alt.startswith("Estimated memory by rank: from 0.5 to 1 GiB, most on rank 0")


@pytest.mark.parametrize(("low", "high", "tone"), [(0.49, 0.51, "good"), (0.51, 0.53, "warning")])
def test_random_data_are_told_that_half_is_right(low, high, tone):
    metrics = {"test/auc": (low + high) / 2, "test/auc_low": low, "test/auc_high": high}
    note = training_report(a_run(data_is_random=True, metrics=metrics)).sections[0].blocks[0]
    assert isinstance(note, Note)
    assert note.tone == tone
    assert "an AUC of 0.5 is the right answer" in note.text


@pytest.mark.parametrize(("last", "is_told"), [(0.741, False), (0.70, True)])
def test_overfitting_is_told_only_beyond_chance(last, is_told):
    aucs = {100: 0.73, 200: 0.742, 300: last}
    log = [{"step": step, "eval/auc": auc, "eval/logloss": 0.5, "eval/auc_se": 0.002} for step, auc in aucs.items()]
    text = render_markdown(training_report(a_run(log=log)))
    assert ("The model overfits: the AUC on val was highest at step 200 (0.7420)" in text) is is_told


def test_last_evaluation_is_the_end_of_the_curve():
    auc = figures(a_run(metrics={**METRICS, "val/auc": 0.7777, "val/logloss": 0.46}))["auc"]
    assert (auc.data["step"], auc.data["val"]) == ([50, 100, 150], [0.725, 0.75, 0.7777])


def test_note_about_random_data_is_only_for_random_data():
    assert "right answer" not in render_markdown(training_report(a_run()))


@pytest.mark.parametrize(
    "changes",
    [
        {"log": []},
        {"log": [training_row(1)]},
        {"plan": ()},
        {"deciles": ()},
        {"metrics": {}},
        {"metrics": {"test/auc": float("nan"), "test/logloss": 0.4}},
    ],
    ids=["no-log", "one-row", "no-plan", "no-deciles", "no-metrics", "one-class"],
)
def test_report_is_whole_where_something_is_missing(changes):
    report = training_report(a_run(**changes))
    assert not re.search(r"\b(nan|None)\b", render_markdown(report))
    assert render_page(report).rstrip().endswith("</html>")


def test_one_line_of_log_is_no_curve():
    run = a_run(log=[training_row(4)])
    assert not {"loss", "learning-rate", "speed", "auc"} & figures(run).keys()
    assert "step-time" in figures(run)
    assert "`training.log_every_steps` draws the curve" in render_markdown(training_report(run))


def test_results_in_json_are_the_metrics(tmp_path):
    write_report(tmp_path, training_report(a_run()))
    assert json.loads((tmp_path / "report.json").read_text())["results"] == METRICS


def test_plan_is_told_by_rank_and_table():
    prose, *_, table = plan_blocks([placement("big", (3.0 * 2**20, 2.0**20)), placement("small", (0.0, 2.0**20))])
    assert (
        "2 tables on 2 ranks: 2 `table_wise`. The fullest rank holds 1.20 times the mean" in prose.text
    )  # 3 / 2.5 MiB
    assert table.rows[0][5:7] == ["0, 1", 4.0]
    assert table.rows[1][5:7] == ["1", 1.0]


def test_plan_of_one_rank_has_its_loads_in_words_and_no_figures_by_rank():
    prose, table = plan_blocks([placement("big", (3.0 * 2**20,)), placement("small", (2.0**20,))])
    assert "2 tables on 1 rank: 2 `table_wise`. It holds 4 MiB and works" in prose.text
    assert [row[6] for row in table.rows] == [3.0, 1.0]


def test_many_tables_share_one_grey_part():
    series = {f"C{i}": [float(i), 1.0] for i in range(1, 5)}
    shown = with_rest_added_up(series, ["C4", "C3"])
    assert {name: values.tolist() for name, values in shown.items()} == {
        "C4": [4, 1],
        "C3": [3, 1],
        OTHER_TABLES: [3, 2],
    }


def test_placements_follow_the_planner():
    import torch
    from torchrec.distributed.planner import Topology
    from torchrec.modules.embedding_configs import EmbeddingBagConfig
    from torchrec.modules.embedding_modules import EmbeddingBagCollection

    from sharding_plans.planning.planner import make_plan
    from sharding_plans.planning.sharders import EveryTypeSharder

    tables = [
        EmbeddingBagConfig(name=name, num_embeddings=rows, embedding_dim=16, feature_names=[name])
        for name, rows in (("C1", 50_000), ("C2", 200))
    ]
    module = torch.nn.ModuleDict({"ebc": EmbeddingBagCollection(tables=tables, device=torch.device("meta"))})
    topology = Topology(world_size=2, local_world_size=2, compute_device="cpu")
    planned = make_plan(module, topology, local_batch_size=64, sharders=[EveryTypeSharder()])
    found = {item.table: item for item in placements(planned.options, 2)}
    assert {name: (item.num_embeddings, item.embedding_dim) for name, item in found.items()} == {
        "C1": (50_000, 16),
        "C2": (200, 16),
    }
    assert {name: item.sharding_type for name, item in found.items()} == {
        name: how.sharding_type for name, how in planned.plan.plan["ebc"].items()
    }
    assert sum(found["C1"].bytes_per_rank) >= 50_000 * 16 * 4
    assert max(found["C1"].ms_per_rank) > 0
