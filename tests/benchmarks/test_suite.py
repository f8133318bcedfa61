"""The benchmarks' own arithmetic, worked by hand; contestants that take turns; the suite's smallest parts for real."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import suite
from benchmarks.live_job import LiveJob, live_job, train_config
from benchmarks.peaks import machine_peaks
from benchmarks.roofline import Round, arch_flops, medians, step_fractions, step_work, table_bytes
from benchmarks.turns import Contestant, take_turns
from benchmarks.walkthrough import _total
from pipeline.ranks import Ranks, joined_ranks

TINY = [
    "--data.source=random",
    "--data.random.num_dense=3",
    "--data.random.table_sizes=[50,2]",
    "--data.random.num_rows=80",
    "--device=cpu",
    "--model.embedding_dim=4",
    "--model.dense_arch=[8,4]",
    "--model.over_arch=[5,1]",
    "--training.global_batch_size=20",
    "--optimizer.sparse.algorithm=sgd",
    "--optimizer.dense.algorithm=sgd",
]
MACHINE = {"gemm_fp32_gflop_per_s": 1.0, "gemm_bf16_gflop_per_s": 1.0, "copy_gb_per_s": 1.0}


def test_products_are_counted_forward_and_backward():
    dense_arch, over_arch = (
        (3 * 8, 8 * 4),
        (7 * 5, 5 * 1),
    )  # 7 columns: the dense vector's 4 and the 3 pairs of 3 vectors
    interaction = 3 * 3 * 4
    forward = sum(dense_arch) + interaction + sum(over_arch)
    # Twice the forward, but for two things: nothing is asked of the dense features' own gradient, and the vectors' gradients of
    # all pairs are one product, both sides at once.
    backward = 2 * forward - 3 * 8 - interaction
    assert arch_flops(train_config(TINY)) == {"dense_forward": 2 * forward, "dense_backward": 2 * backward}


def test_bounds_of_a_step_add_up_and_fractions_follow(run_on_ranks):
    (found,) = run_on_ranks(1, _bounds)
    rows = 4 * 4 * found["distinct"]  # 4 columns of 4 bytes
    pooled = 20 * 2 * 4 * 4
    assert found["bytes"] == {"lookup": rows + pooled, "table_backward": pooled + 2 * rows}
    weights = 3 * 8 + 8 + 8 * 4 + 4 + 7 * 5 + 5 + 5 + 1
    expected = {
        "lookup": (rows + pooled) / 1e6,
        "table_backward": (pooled + 2 * rows) / 1e6,
        "dense_forward": 20 * 2 * (24 + 32 + 36 + 35 + 5) / 1e6,
        "dense_backward": 20 * 2 * (2 * (24 + 32 + 36 + 35 + 5) - 24 - 36) / 1e6,
        "dense_optimizer": 12 * weights / 1e6,
    }
    assert found["bounds"] == pytest.approx(expected)
    step = found["step"]
    assert step["fraction_of_best"] == pytest.approx(sum(expected.values()) / step["ms"])
    # One round: its medians are its values, and the peaks are this machine's, measured beside the step.
    assert step["fraction"] == pytest.approx(step["bound_ms"] / step["ms"])
    assert step["bound_ms"] == pytest.approx(sum(each["bound_ms"] for each in step["parts"].values()))
    products = {part: step["parts"][part]["bound_ms"] for part in ("dense_forward", "dense_backward")}
    assert products["dense_forward"] / products["dense_backward"] == pytest.approx(
        expected["dense_forward"] / expected["dense_backward"]
    )
    assert 0 < sum(products.values()) < expected["dense_forward"] + expected["dense_backward"]
    for part, each in step["parts"].items():
        assert each["ms"] >= 0
        assert (each["bound_ms"] > 0) == (part in expected)


def test_each_step_is_held_to_the_peaks_of_its_own_round():
    rounds = [
        Round(whole=10.0, parts={"lookup": 4.0}, bounds={"lookup": 1.0, "dense_forward": 4.0}),
        Round(whole=20.0, parts={"lookup": 4.0}, bounds={"lookup": 3.0, "dense_forward": 13.0}),
        Round(whole=40.0, parts={"lookup": 5.0}, bounds={"lookup": 2.0, "dense_forward": 6.0}),
    ]
    found = medians(rounds)
    assert (found["bound_ms"], found["ms"]) == (8.0, 20.0)
    assert found["fraction"] == 0.5  # of 0.5, 0.8 and 0.2; the medians' quotient is 0.4
    assert found["parts"]["lookup"] == {"bound_ms": 2.0, "ms": 4.0, "fraction": 0.4}  # of 0.25, 0.75 and 0.4
    assert found["parts"]["dense_forward"] == {"bound_ms": 6.0, "ms": 0.0, "fraction": None}


def _bounds() -> dict:
    ranks = Ranks(rank=0, num_ranks=1, local_num_ranks=1, device=torch.device("cpu"))
    job: LiveJob = live_job(train_config(TINY), ranks)
    ids = job.batches[0].sparse.to_dict()
    return {
        "distinct": sum(len(set(values.values().tolist())) for values in ids.values()),
        "bytes": table_bytes(job, job.batches[0]),
        "bounds": step_work(job).bounds_ms(MACHINE),
        "step": step_fractions(job, machine_peaks(torch.device("cpu"), sizes=(64,)), MACHINE, steps=1),
    }


TAKES_TURNS = """
import sys, time
from benchmarks.contestants.pacing import Pace
pace = Pace()
print("said by the way")
while True:
    time.sleep(0.02)
    pace.begin()
    time.sleep(0.01)
    pace.end()
"""


def test_contestants_take_turns_and_one_that_dies_is_skipped_with_its_last_words(capsys: pytest.CaptureFixture[str]):
    dies = "raise SystemExit('no such model')"
    found = take_turns(
        [
            Contestant(name="alive", command=[sys.executable, "-c", TAKES_TURNS], batch=10),
            Contestant(name="dies", command=[sys.executable, "-c", dies], batch=10),
            Contestant(name="absent", missing="not named"),
        ],
        rounds=2,
        turn_s=0.1,
    )
    assert set(found.samples_per_s) == {"alive"}
    assert found.skipped == {"dies": "ended by itself: no such model", "absent": "not named"}
    rates, loading = found.samples_per_s["alive"], found.with_loading["alive"]
    assert len(rates) == len(loading) == 2
    # A step sleeps 10 ms, its loading 20 ms before that; nobody sleeps too short.
    for rate, loaded in zip(rates, loading, strict=True):
        assert 0 < loaded < rate <= 10 / 0.01
        assert loaded <= 10 / 0.03
    assert "dies" in capsys.readouterr().out


def test_times_of_two_shares_are_drawn_out_to_all_rows():
    assert _total(100, {10: 3.0, 20: 5.0}) == pytest.approx(21.0)
    assert _total(100, {100: 7.5}) == 7.5


def test_the_smallest_parts_run_and_leave_a_report_with_its_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    results, out = tmp_path / "results", tmp_path / "docs"
    options = ["--quick", "--results", str(results), "--out", str(out), "--parts"]
    monkeypatch.setattr(sys, "argv", ["suite", *options, "roofline", "growth"])
    suite.main()
    said = capsys.readouterr().out
    (page,) = out.glob("*.md")
    assert f"report {page}" in said
    text = page.read_text()
    for name in ("roofline", "growth"):
        image = out / "images" / f"{page.stem}-{name}.svg"
        assert f"(images/{image.name})" in text
        assert image.read_text().startswith("<svg")
    assert "quick size" in text
    results_json = json.loads(page.with_suffix(".json").read_text())["results"]
    assert set(results_json["roofline"]["steps"]) == {"fp32", "fp32 compiled", "bf16"}
    assert len(results_json["growth"]["curves"]["batch"]["points"]) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_roofline_of_a_gpu_step():
    with joined_ranks("cuda") as ranks:
        peaks = machine_peaks(ranks.device, sizes=(1024,))
        machine = {name: peak.rate() for name, peak in peaks.items()}
        step = step_fractions(live_job(train_config([*TINY, "--device=cuda"]), ranks), peaks, machine, 2)
    assert all(value > 0 for value in machine.values())
    assert 0 < step["fraction"] < 1
