from pathlib import Path

import pytest

from data.config import GenerateConfig, PrepareConfig, SplitConfig
from data.errors import DataError
from data.generating.generator import generate
from data.manifest import Manifest
from data.preparing.prepare import prepare

GOOD = ("\t".join(["1", *["7"] * 13, *["0000000a"] * 26]) + "\n").encode()


def config_of(source: Path, output: Path, **settings) -> PrepareConfig:
    return PrepareConfig(source=str(source), output=str(output), show_progress=False, **settings)


def write(tmp_path: Path, text: bytes) -> Path:
    (tmp_path / "raw.tsv").write_bytes(text)
    return tmp_path / "raw.tsv"


@pytest.mark.parametrize("ids", ["map", "hash"])
def test_bad_lines_stop_the_job_with_an_account_and_nothing_is_left(tmp_path, ids):
    source = write(tmp_path, GOOD * 50 + b"oops\n" + GOOD * 49 + GOOD.replace(b"1\t", b"3\t", 1) + b"\n")
    with pytest.raises(DataError) as caught:
        prepare(config_of(source, tmp_path / "out", ids=ids, table_sizes=(10,) if ids == "hash" else ()))
    message = str(caught.value)
    assert "3 of 102 lines read are bad" in message
    assert f"2 x wrong number of fields, first at {source}:51: 'oops'" in message
    assert f"1 x bad label, first at {source}:101: '3" in message
    assert "max_bad_fraction=0.03" in message
    assert [path.name for path in tmp_path.iterdir()] == ["raw.tsv"]


def test_accepted_bad_lines_are_counted_in_the_manifest(tmp_path):
    source = write(tmp_path, (GOOD * 49 + b"oops\n") * 4)
    manifest = prepare(config_of(source, tmp_path / "out", max_bad_fraction=0.02))
    assert manifest.bad_lines == {"wrong number of fields": 4}
    assert manifest.num_lines == 200 == sum(split.num_rows for split in manifest.splits.values()) + 4


def test_source_of_bad_lines_alone_leaves_nothing_to_train_on(tmp_path):
    with pytest.raises(DataError, match="bad"):
        prepare(config_of(write(tmp_path, b"oops\n" * 3), tmp_path / "out", max_bad_fraction=0.99))
    assert not (tmp_path / "out").exists()


def test_too_few_rows_leave_nothing_to_train_on(tmp_path):
    split = SplitConfig(val_fraction=0.0, test_fraction=0.999)
    with pytest.raises(DataError, match="no row to train on"):
        prepare(config_of(write(tmp_path, GOOD), tmp_path / "out", split=split))


def test_day_split_of_one_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="two days or more"):
        prepare(config_of(write(tmp_path, GOOD), tmp_path / "out", split=SplitConfig(by="day")))


@pytest.mark.parametrize("is_file", [True, False])
def test_output_that_is_no_prepared_dataset_is_not_touched(tmp_path, is_file):
    output = tmp_path / "out"
    mine = output if is_file else output / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(DataError, match="is no prepared dataset"):
        prepare(config_of(write(tmp_path, GOOD), output, force=True))
    assert mine.read_text() == "mine"


def test_empty_output_directory_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert prepare(config_of(write(tmp_path, GOOD * 50), tmp_path / "out")) == Manifest.load(tmp_path / "out")


def test_failing_again_leaves_the_earlier_dataset_as_it_was(tmp_path):
    earlier = prepare(config_of(write(tmp_path, GOOD * 50), tmp_path / "out"))
    with pytest.raises(DataError):
        prepare(config_of(write(tmp_path, GOOD * 50 + b"oops\n"), tmp_path / "out", force=True))
    assert Manifest.load(tmp_path / "out") == earlier
    earlier.verify(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + GOOD), "does not belong"),
        (lambda path: path.write_bytes(path.read_bytes()[: -len(GOOD)].rsplit(b"\n", 1)[0]), "does not belong"),
    ],
)
def test_probabilities_of_another_file_are_refused(tmp_path, change, words):
    source = tmp_path / "raw.tsv"
    generate(GenerateConfig(output=str(source), num_rows=100))
    change(source)
    with pytest.raises(DataError, match=words):
        prepare(config_of(source, tmp_path / "out"))


@pytest.mark.parametrize("ids", ["map", "hash"])
def test_full_disk_ends_preparing_with_a_message_and_nothing_is_left(tmp_path, small_disk, ids):
    generate(GenerateConfig(output=str(tmp_path / "raw.tsv"), num_rows=20_000))
    disk = small_disk("1m")
    with pytest.raises(DataError, match=r"No space left on device.*Nothing was left behind"):
        prepare(config_of(tmp_path / "raw.tsv", disk / "out", ids=ids))
    assert list(disk.iterdir()) == []


def test_full_disk_ends_generating_with_a_message_and_nothing_is_left(small_disk):
    disk = small_disk("1m")
    for name in ("a.tsv", "a.tsv.gz"):
        with pytest.raises(DataError, match="No space left on device"):
            generate(GenerateConfig(output=str(disk / name), num_rows=20_000))
    assert list(disk.iterdir()) == []


def test_unwritable_output_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"Writing .*file/out failed: File exists"):
        prepare(config_of(write(tmp_path, GOOD * 20), tmp_path / "file" / "out"))


def test_manifest_that_is_absent_or_damaged_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="run the prepare job"):
        Manifest.load(tmp_path / "absent")
    with pytest.raises(DataError, match=r"holds no manifest\.json"):
        Manifest.load(tmp_path)
    for text in ("{", "[]", '{"version": 99}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(DataError, match="damaged or of another version"):
            Manifest.load(tmp_path)
