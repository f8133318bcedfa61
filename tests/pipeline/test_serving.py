"""The HTTP service through real sockets: it scores as `predict` does, holds back in overload, reloads and ends without a loss."""

import json
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from data.criteo import DENSE_NAMES, SPARSE_NAMES
from pipeline.cli import main
from tests.pipeline.awkward_rows import SPEC, awkward_table
from tests.pipeline.job_runs import tiny_settings
from tests.pipeline.served import ARROW, Load, Served, exchange, ipc, serving, wait_until

TOLERANCE = 1e-6
ROW = json.dumps({"rows": [{"I1": 1, "C1": "68fd1e64"}]}).encode()


def point_to(link: Path, bundle: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(bundle)


@pytest.fixture(scope="module")
def folder(served_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`first` and `second`, two bundles of one run; `lists`, one for the columns of another spec, trained on `lists.csv`."""
    directory = tmp_path_factory.mktemp("serving")
    (directory / "first").symlink_to(served_run / "bundle")
    assert main(["quantize", str(served_run / "run"), f"--output={directory / 'second'}"]) == 0
    awkward_table(directory / "lists.csv", num_rows=1500)
    (directory / "spec.yaml").write_text(SPEC)
    prepare = ["prepare", f"--source={directory / 'lists.csv'}", f"--spec={directory / 'spec.yaml'}"]
    assert main([*prepare, f"--output={directory / 'rows'}", "--max_bad_fraction=0.05", "--show_progress=false"]) == 0
    assert main(["train", *tiny_settings(directory / "rows", directory, "run-lists"), "--training.num_epochs=3"]) == 0
    assert main(["export", str(directory / "run-lists"), f"--output={directory / 'lists'}", "--formats=[]"]) == 0
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    """A service on `folder / "current"`, a link to `first`; tests that change the link put it back."""
    point_to(folder / "current", folder / "first")
    with serving(folder / "current", folder / "served.log") as service:
        yield service


def predicted(model: Path, source: Path, output: Path) -> dict[int, float]:
    assert main(["predict", str(model), str(source), f"--output={output}", "--max_bad_fraction=0.05"]) == 0
    table = pq.read_table(output)
    return dict(zip(table["row_id"].to_pylist(), table["score"].to_pylist(), strict=True))


def probabilities(served: Served, rows: list[dict]) -> list[float]:
    status, content = served.post(json.dumps({"rows": rows}).encode())
    assert status == 200, content
    return json.loads(content)["probabilities"]


def test_json_and_arrow_rows_score_as_predict_scores_the_file(
    folder: Path, prepared: Path, served: Served, tmp_path: Path
):
    source = prepared.parent / "rows.tsv"
    expected = predicted(folder / "first", source, tmp_path / "predictions")
    names = ["label", *DENSE_NAMES, *SPARSE_NAMES]
    lines = [line.split("\t") for line in source.read_text().splitlines()[:2000]]
    rows = [
        {
            name: (int(text) if name.startswith("I") else text)
            for name, text in zip(names[1:], line[1:], strict=True)
            if text
        }
        for line in lines
    ]
    wanted = np.array([expected[row] for row in range(2000)])
    assert np.std(wanted) > 0.01
    found = [*probabilities(served, rows[:1500]), *(probabilities(served, [row])[0] for row in rows[1500:1520])]
    np.testing.assert_allclose(found, wanted[:1520], rtol=0, atol=TOLERANCE)
    table = pa.Table.from_pylist([{name: row.get(name) for name in names[1:]} for row in rows])
    status, content = served.post(ipc(table), ARROW)
    assert status == 200
    found = pa.ipc.open_stream(content).read_all()["probability"].to_numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


def test_reloading_brings_a_bundle_of_other_columns_whose_lists_score_as_predict_scores_them(
    folder: Path, served: Served, tmp_path: Path
):
    expected = predicted(folder / "lists", folder / "lists.csv", tmp_path / "predictions")
    point_to(folder / "current", folder / "lists")
    assert served.reload()[0] == 200
    table = pa_csv.read_csv(folder / "lists.csv", convert_options=pa_csv.ConvertOptions(strings_can_be_null=True))
    places = [row for row in sorted(expected) if row < 1500]
    good = table.take(pa.array(places)).set_column(2, "age", table["age"].take(pa.array(places)).cast(pa.float64()))
    rows = [
        {**row, "words": row["words"].split("|") if row["words"] and row["price"] else row["words"]}
        for row in good.to_pylist()
    ]
    wanted = [expected[place] for place in places]
    assert np.std(wanted) > 0.001
    np.testing.assert_allclose(probabilities(served, rows), wanted, rtol=0, atol=TOLERANCE)
    content = served.post(ipc(good), ARROW)[1]
    found = pa.ipc.open_stream(content).read_all()["probability"].to_numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)
    assert served.post(b'{"rows": [{"words": [["w1:1"]]}]}')[0] == 400
    assert served.post(b'{"rows": [{"words": ["w1"]}]}')[0] == 400  # no weight
    point_to(folder / "current", folder / "first")
    assert served.reload()[0] == 200


def test_reloads_under_load_fail_no_request(folder: Path, served: Served):
    first = served.model()
    with Load(served.port, ROW, num_clients=6) as load:
        for bundle in ("second", "first", "second", "first"):
            before = load.statuses.total()
            point_to(folder / "current", folder / bundle)
            assert served.reload()[0] == 200
            load.wait_for(before + 30)
    assert load.lost == []
    assert set(load.statuses) == {200}
    assert load.statuses[200] >= 120
    assert served.model() == first


def test_sighup_reloads_too(folder: Path, served: Served):
    first = served.model()
    point_to(folder / "current", folder / "second")
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: served.model() != first)
    point_to(folder / "current", folder / "first")
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: served.model() == first)


def test_a_bad_new_bundle_is_refused_and_the_old_one_goes_on(folder: Path, served: Served, tmp_path: Path):
    first, score = served.model(), probabilities(served, [{"I1": 1}])
    shutil.copytree(folder / "second", tmp_path / "damaged")
    (tmp_path / "damaged" / "weights.pt").write_bytes(b"?")
    (tmp_path / "empty").mkdir()
    for bundle, message in (("damaged", "weights.pt is missing or not as it was written"), ("empty", "is no bundle")):
        point_to(folder / "current", tmp_path / bundle)
        status, content = served.reload()
        assert status == 409
        assert message in content["error"]
        assert served.model() == first
    assert probabilities(served, [{"I1": 1}]) == score
    point_to(folder / "current", folder / "first")


def test_reloading_is_for_this_machine_alone(served: Served):
    request = b"POST /reload HTTP/1.1\r\nhost: x\r\n%s: http://elsewhere\r\ncontent-length: 0\r\n\r\n"
    for header in (b"origin", b"x-forwarded-for"):
        assert exchange(served.port, request % header)[0] == 403


def test_metrics_count_what_was_answered(served: Served):
    name = 'shardline_requests_total{status="%d"}'
    good, bad, rows = served.figure(name % 200), served.figure(name % 400), served.figure("shardline_rows_total")
    probabilities(served, [{}, {}, {}])
    assert served.post(b"{")[0] == 400
    assert served.figure(name % 200) == good + 1
    assert served.figure(name % 400) == bad + 1
    assert served.figure("shardline_rows_total") == rows + 3
    assert served.figure("shardline_queue_rows") == served.figure("shardline_held_bytes") == 0
    assert served.figure("process_resident_memory_bytes") > 2**20


def test_overload_is_refused_with_a_time_to_come_again_and_sigterm_loses_nothing(folder: Path):
    body = json.dumps({"rows": [{"I1": 1}] * 50}).encode()
    limits = ["--max_request_rows=50", "--max_batch_rows=50", "--max_queue_rows=150"]
    with serving(folder / "first", folder / "overload.log", *limits) as service:
        with Load(service.port, body, num_clients=24) as load:
            wait_until(lambda: load.statuses[200] >= 20 and load.statuses[429] >= 20)
            assert service.process.poll() is None
            assert service.stop() == 0
        assert load.lost == []
        assert set(load.statuses) == {200, 429}
        # What the service says it answered is what its clients received.
        answers = f"answers to /predict: {load.statuses[200]:,} x 200, {load.statuses[429]:,} x 429;"
        assert answers in service.log.read_text()


@pytest.mark.parametrize("fault", ["nothing", "damaged", "checkpoint", "port", "host", "program"])
def test_what_cannot_be_served_ends_with_one_message(
    folder: Path, served_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
):
    before = signal.getsignal(signal.SIGHUP)
    shutil.copytree(folder / "first", tmp_path / "damaged")
    (tmp_path / "damaged" / "model.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments, message = {
            "nothing": ([str(tmp_path / "none")], "is no bundle"),
            "damaged": ([str(tmp_path / "damaged")], "model.json is missing or not as it was written"),
            "checkpoint": ([str(served_run / "run")], "shardline export"),
            "port": ([str(folder / "first"), f"--port={taken.getsockname()[1]}"], "Address already in use"),
            "host": ([str(folder / "first"), "--host=no.such.host.invalid"], "Cannot listen on"),
            "program": ([str(folder / "first"), "--runtime=aoti"], "has no program 'aoti'"),
        }[fault]
        code = main(["serve", *arguments, *([] if fault == "port" else ["--port=0"])])
    signal.signal(signal.SIGHUP, before)
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("shardline:")]) == 1
