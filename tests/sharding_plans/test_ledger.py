"""The ledger of measurements: two writers, damaged lines, and what comes back."""

import multiprocessing
from pathlib import Path

import pytest

from data.errors import PlanError
from sharding_plans.measuring.agreement import agreement, spearman
from sharding_plans.measuring.ledger import append, read, repeats
from sharding_plans.measuring.measurement import PARTS, Measurement, RankMeasurement


def measurement(name: str = "a", padding: int = 0) -> Measurement:
    rank = RankMeasurement(
        rank=0,
        step_p50_ms=1.0,
        step_p90_ms=2.0,
        parts_ms=dict.fromkeys(PARTS, 0.5),
        waiting_ms=0.25,
        sent_bytes=1,
        received_bytes=2,
        table_bytes=3,
        state_bytes=4,
        process_peak_bytes=5,
    )
    return Measurement(
        plan_fingerprint="f" * 16,
        plan_name=name,
        sharding_types={"row_wise": 2},
        hardware={"cores": 2, "padding": "x" * padding},
        versions={"torchrec": "1"},
        model_fingerprint="m" * 16,
        global_batch_size=64,
        num_ranks=1,
        data={"source": "random"},
        num_steps=3,
        created="2026-01-01T00:00:00+00:00",
        ranks=(rank,),
        slowest_ms={part: float(i) for i, part in enumerate(PARTS)},
        step_p50_ms=10.0,
        step_p90_ms=11.0,
        parted_step_ms=12.5,
        estimates={"torchrec": {"lookup": 1.0}},
    )


def test_records_come_back_as_they_were(tmp_path: Path):
    path = tmp_path / "new folder" / "ledger.jsonl"
    append(path, measurement("a"))
    append(path, measurement("b"))
    records, problems = read(path)
    assert records == [measurement("a"), measurement("b")]
    assert problems == []
    assert [len(same) for same in repeats(records).values()] == [2]


def test_sums_of_a_record():
    found = measurement()
    assert found.embedding_ms == 0 + 1 + 2 + 5 + 6 + 7  # dense forward, backward and optimizer left out
    assert found.overhead == pytest.approx(0.25)


def test_a_damaged_line_is_reported_and_skipped(tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    append(path, measurement("a"))
    with path.open("ab") as file:
        file.write(b'{"format": "shardline-measurement-1", "plan_na')  # cut off, as by a kill
    append(path, measurement("b"))
    with path.open("ab") as file:
        file.write(b'{"format": "another"}\n')
    append(path, measurement("c"))
    records, problems = read(path)
    assert [each.plan_name for each in records] == ["a", "b", "c"]
    assert ["line 2" in problems[0], "line 4" in problems[1]] == [True, True]


def _append_many(path: Path, name: str) -> None:
    for _ in range(40):
        append(path, measurement(name, padding=20_000))  # longer than what a pipe or a page takes at once


def test_two_writers_leave_whole_lines(tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    writers = [multiprocessing.get_context("fork").Process(target=_append_many, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    records, problems = read(path)
    assert problems == []
    assert sorted(each.plan_name for each in records) == ["a"] * 40 + ["b"] * 40


def test_a_ledger_that_is_not_there_is_empty_and_one_that_cannot_be_is_a_mistake(tmp_path: Path):
    assert read(tmp_path / "none.jsonl") == ([], [])
    with pytest.raises(PlanError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(PlanError, match="cannot be written"):
        append(tmp_path, measurement())


def test_agreement_is_about_order_and_size():
    found = agreement([1.0, 2.0, 6.0], [1.0, 4.0, 5.0])
    assert found.rank_correlation == 1.0
    assert found.median_error == pytest.approx(0.2)
    assert found.worst_error == pytest.approx(0.5)
    assert spearman([1, 2, 3], [3, 2, 1]) == -1
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(0.866, abs=1e-3)
