"""Whatever a client sends, it gets a clear 4xx and the service goes on."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipeline.malformed import cut_off_requests, malformed_requests, slow_requests
from tests.pipeline.served import ARROW, Served, exchange, serving, wait_until

MOST_CONNECTIONS = 40


@pytest.fixture(scope="module")
def served(served_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = ["--receive_timeout_s=1", "--idle_timeout_s=1", f"--max_connections={MOST_CONNECTIONS}"]
    with serving(served_run / "bundle", tmp_path_factory.mktemp("malformed") / "served.log", *limits) as service:
        yield service


def check_refused(name: str, status: int, content: bytes) -> None:
    assert 400 <= status < 500, (name, status, content)
    answer = json.loads(content)
    assert list(answer) == ["error"], name
    assert len(answer["error"]) > 10, name
    assert len(content) < 1000, name
    assert b"Traceback" not in content, name
    assert b".py" not in content, name


def check_healthy(served: Served) -> None:
    """It answers as before, holds nothing any more, and its log has no trace of a fault."""
    status, content = served.post(b'{"rows": [{"I1": 1, "C1": "68fd1e64"}]}')
    assert status == 200, content
    assert served.figure("shardline_held_bytes") == served.figure("shardline_queue_rows") == 0
    assert "Traceback" not in served.log.read_text()


def test_malformed_requests_are_refused_in_words(served: Served):
    requests = dict(malformed_requests())
    assert len(requests) >= 200
    for name, sent in requests.items():
        check_refused(name, *exchange(served.port, *sent))
    check_healthy(served)


def test_slow_and_cut_off_requests_are_refused_in_words(served: Served):
    with ThreadPoolExecutor(16) as pool:
        slow = {name: pool.submit(exchange, served.port, *sent, pause_s=0.3) for name, sent in slow_requests()}
        cut_off = {name: pool.submit(exchange, served.port, *sent, ends=True) for name, sent in cut_off_requests()}
    for name, answer in slow.items():
        status, content = answer.result()
        assert status == 408, (name, content)
        check_refused(name, status, content)
    for name, answer in cut_off.items():
        check_refused(name, *answer.result())
    check_healthy(served)


def test_a_wrong_value_is_named_with_its_row_and_column(served: Served):
    status, content = served.post(b'{"rows": [{"C1": "68fd1e64"}, {"C1": "68fd1e64", "C5": "xyz"}]}')
    assert status == 400
    expected = "Row 1, column 'C5' is 'xyz' (bad hex); expected 8 hexadecimal digits, or null."
    assert json.loads(content) == {"error": expected}
    status, content = served.post(b'{"rows": [{"Cl": "68fd1e64"}]}')
    assert json.loads(content)["error"] == "There is no column 'Cl'; the model reads 39, such as C9, C8, C7."


def test_a_bad_request_does_not_spoil_the_others_of_its_batch(served: Served):
    good, bad = b'{"rows": [{"C1": "68fd1e64"}]}', b'{"rows": [{"C1": "68fd1e6x"}]}'
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(served.post, [good, bad] * 40))
    assert [status for status, _ in answers] == [200, 400] * 40
    assert len({content for status, content in answers if status == 200}) == 1


def test_connections_beyond_the_limit_are_refused_and_idle_ones_closed(served: Served):
    wait_until(lambda: served.figure("shardline_connections") == 1)
    held = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(MOST_CONNECTIONS)]
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as another:
        answer = another.recv(4096).lower()
    assert answer.startswith(b"http/1.1 429 ")
    assert b"retry-after: 1" in answer
    for connection in held:
        assert connection.recv(4096) == b""
        connection.close()
    check_healthy(served)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANY_JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["I1", "I2", "C1", "C2", "label"]), ANY_JSON, max_size=4), max_size=4)


@settings(max_examples=150, deadline=None)
@given(document=ANY_JSON | st.fixed_dictionaries({"rows": ROWS}))
def test_any_json_gets_probabilities_or_a_reason(served: Served, document):
    status, content = served.post(json.dumps(document).encode("utf-8", "surrogatepass"))
    if status != 200:
        check_refused(str(document), status, content)
    else:
        assert len(json.loads(content)["probabilities"]) == len(document["rows"])


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=2000))
def test_any_bytes_as_arrow_get_a_reason(served: Served, body: bytes):
    check_refused(repr(body), *served.post(body, ARROW))
