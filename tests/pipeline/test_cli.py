"""The command line: help, typos, wrong settings. Nothing heavy is imported for them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from data.errors import ConfigError
from pipeline.cli import _with_bare_flags, build_parser, config_class_of, job_parser, main
from pipeline.config import CrossValidateConfig, TrainConfig
from pipeline.job_list import JOBS
from pipeline.settings import from_plain, to_plain

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((REPOSITORY / "pipeline" / "configs").glob("*.yaml"))


def test_help_lists_every_job_and_every_job_explains_its_settings(capsys: pytest.CaptureFixture[str]):
    build_parser().print_help()
    overview = capsys.readouterr().out
    for job in JOBS:
        assert job.name in overview
        assert config_class_of(job).__doc__
        assert "--config" in job_parser(job).format_help()


def test_torchruns_summary_shows_a_mistake_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    before = int(time.time())
    assert main(["train", "--data.path=nowhere"]) == 2
    said = json.loads((tmp_path / "error.json").read_text())["message"]
    assert said["message"].startswith("nowhere does not exist")
    assert before <= int(said["extraInfo"]["timestamp"]) <= time.time()


def test_a_reader_that_has_seen_enough_gets_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", "--help"], cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_help_and_typos_import_neither_torch_nor_polars():
    check = (
        "import sys; from pipeline.cli import main; main(['train', '--model.dropuot=1']); "
        "sys.exit(len({'torch', 'torchrec', 'polars', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, capture_output=True).returncode == 0


def test_a_yes_or_no_setting_given_alone_means_yes():
    given = ["train", "--profile", "--checkpoint.asynchronous", "--checkpoint.keep_best", "false", "--name", "profile"]
    expected = ["train", "--profile=true", "--checkpoint.asynchronous=true", *given[3:]]
    assert _with_bare_flags(given) == expected
    assert _with_bare_flags(["train", "--profile"]) == ["train", "--profile=true"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("trian", ["no job 'trian'", "did you mean train"]),
        ("predict --source=rows.tsv", ["'source' is given by its place", "`shardline predict MODEL SOURCE`"]),
        ("train --model.embeding_dim=8", ["no setting 'model.embeding_dim'", "did you mean model.embedding_dim"]),
        ("train --model.ranker=depfm", ["model.ranker is 'depfm'", "did you mean deepfm or", "module:Class"]),
        ("train --model.ranker=fm --model.cross.rank=8", ["model.cross.rank is 8", "it belongs to dcnv2"]),
        ("train --model.interaction=dots", ["model.interaction", "'dot', 'cat', 'projection'"]),
        ("train --training.seed=x", ["training.seed", "int"]),
        ("train --config=nowhere.yaml", ["nowhere.yaml", "does not exist"]),
        ("train --model.over_arch=[8,2]", ["model.over_arch ends in 2", "[8, 2, 1]"]),
        ("train --training.stop_at_auc=0.8", ["training.eval_every_steps"]),
        ("train --data.path=nowhere", ["nowhere does not exist", "prepare"]),
        ("evaluate nowhere", ["nowhere does not exist", "or a run's directory"]),
        ("evaluate doc", ["doc does not exist (there is docs)"]),
        ("evaluate docs", ["docs is not a checkpoint (it has no checkpoint.json), nor a run's directory"]),
        ("prepare --source=nowhere", ["nowhere does not exist"]),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    arguments: str, words: list[str], capsys: pytest.CaptureFixture[str]
):
    assert main(arguments.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("shardline: ")
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_a_typo_in_a_yaml_file_names_the_nearest_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.yaml").write_text("training:\n  globl_batch_size: 8\n")
    assert main(["train", f"--config={tmp_path / 'a.yaml'}"]) == 2
    assert "did you mean training.global_batch_size" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"\x1f\x8b\x00", b"a: [1\n"])
def test_a_settings_file_that_is_not_yaml_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "a.yaml").write_bytes(content)
    assert main(["train", f"--config={tmp_path / 'a.yaml'}"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_later_settings_win_over_earlier_ones(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("name: a\nranks: 3\ntraining: {seed: 1, num_epochs: 4}\n")
    (tmp_path / "b.yaml").write_text("name: b\ntraining: {seed: 2}\n")
    parser = build_parser(only="train")
    arguments = ["train", f"--config={tmp_path / 'a.yaml'}", f"--config={tmp_path / 'b.yaml'}", "--training.seed=7"]
    settings = parser.parse_args(arguments).train
    assert (settings.name, settings.ranks, settings.training.seed, settings.training.num_epochs) == ("b", 3, 7, 4)


def test_print_config_gives_yaml_that_the_job_takes_back(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with pytest.raises(SystemExit) as exit_info:
        main(["train", "--model.embedding_dim=8", "--model.dense_arch=[32,8]", "--print_config"])
    assert exit_info.value.code == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    settings = build_parser(only="train").parse_args(["train", f"--config={tmp_path / 'c.yaml'}"]).train
    assert settings.model.embedding_dim == 8


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path: Path):
    settings = yaml.safe_load(path.read_text())
    config_class = CrossValidateConfig if "num_folds" in settings else TrainConfig
    assert isinstance(from_plain(config_class, settings, str(path)), config_class)


def test_settings_survive_the_way_to_plain_data_and_back():
    config = TrainConfig(name="x", ranks=2)
    assert from_plain(TrainConfig, to_plain(config), "here") == config


def test_settings_of_another_version_are_named():
    with pytest.raises(ConfigError, match=r"some/config\.yaml does not hold settings that this version understands"):
        from_plain(TrainConfig, {"model": {"width": 3}}, "some/config.yaml")
