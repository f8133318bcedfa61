import json

from data.config import GenerateConfig, PrepareConfig
from data.generating.generator import generate
from data.preparing.prepare import prepare
from pipeline.cli import main


def test_drift_of_two_sets_is_a_table_a_report_and_a_gate(tmp_path, capsys):
    for name, exponent in (("a", 1.1), ("b", 0.8)):
        raw = tmp_path / f"{name}.tsv"
        generate(GenerateConfig(output=str(raw), num_rows=3000, zipf_exponent=exponent))
        prepare(PrepareConfig(source=str(raw), output=str(tmp_path / name), show_progress=False))
    sets = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["drift", *sets, "--out", str(tmp_path / "report")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split()[:2] == ["feature", "PSI"]
    results = json.loads((tmp_path / "report/report.json").read_text())["results"]
    furthest = max((key for key in results if key.endswith("/psi")), key=lambda key: results[key])
    assert lines[5].startswith(f"{furthest.removesuffix('/psi')} ")
    assert "moved far" in lines[5]
    assert "Population stability index of each feature" in (tmp_path / "report/report.html").read_text()
    assert main(["drift", *sets, "--fail_on_alarm", "true"]) == 1
    assert main(["drift", sets[0], sets[0], "--fail_on_alarm", "true"]) == 0
