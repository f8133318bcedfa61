"""The suite's report: the parts' results as one page of Markdown, one of JSON, and the plots as SVG beside them."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.growth import TITLES
from benchmarks.suite_figures import growth_figure, roofline_figure, throughput_figure, walkthrough_figure
from pipeline.reports.document import Block, Figure, Note, Prose, Report, Section, Table, table
from pipeline.reports.markdown import render_markdown
from pipeline.reports.provenance import environment_facts
from pipeline.reports.writing import render_json
from sharding_plans.machines.identity import machine_facts
from sharding_plans.measuring.measurement import PARTS

Kept = Mapping[str, Mapping[str, Any]]
"""By part: what the suite keeps of it, the script's own result under `result`."""


def write_suite_report(results: Path, out: Path, known: Sequence[str]) -> Path | None:
    """Write the report of all results that are there; its Markdown file, or None where there are no results.

    `known` are all parts: those without a result are named.
    """
    kept = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    if not kept:
        return None
    report = suite_report(kept, [name for name in known if name not in kept])
    name = f"{hardware_name()}_{datetime.now(UTC):%Y-%m-%d}"
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for figure in _figures(report):
        drawn = figure.svg.replace("<svg ", '<svg style="background:#fff" ', 1)
        _write(images / f"{name}-{figure.name}.svg", drawn)
    _write(out / f"{name}.json", render_json(report))
    _write(out / f"{name}.md", render_markdown(report, images=f"images/{name}-"))
    return out / f"{name}.md"


def hardware_name() -> str:
    """The machine in a file's name: GPU or processor, cores, vector instructions."""
    facts = machine_facts()
    if torch.cuda.is_available():
        words = f"{len(facts['gpus'])}x {facts['gpus'][0]}"
    else:
        words = f"{facts['processor']} {facts['cores']} cores {torch.backends.cpu.get_cpu_capability()}"
    return re.sub(r"(\(r\)|\(tm\)|[^a-z0-9])+", "-", words.lower()).strip("-")


def suite_report(kept: Kept, missing: Sequence[str] = ()) -> Report:
    """The report of what is there."""
    sections = [
        _throughput(kept),
        _walkthrough(kept),
        _roofline(kept),
        _rows(kept),
        _growth(kept),
        _projection(kept),
        _auc(kept),
        _data(kept),
        _when(kept, missing),
    ]
    facts = environment_facts()
    return Report(
        title=f"Benchmarks: {facts['Machine']}",
        subtitle="Written by `make bench`. Medians, in brackets the least and the most; measured unless marked otherwise.",
        sections=[section for section in sections if section is not None],
        provenance={
            **facts,
            "Threads": str(torch.get_num_threads()),
            "Instructions": torch.backends.cpu.get_cpu_capability(),
        },
        results={name: part["result"] for name, part in kept.items()},
    )


def _figures(report: Report) -> list[Figure]:
    return [block for section in report.sections for block in section.blocks if isinstance(block, Figure)]


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text)
    aside.replace(path)


def _results(kept: Kept, script: str) -> list[Mapping[str, Any]]:
    return [part["result"] for part in kept.values() if part["result"].get("benchmark") == script]


def _words(spread: Mapping[str, Any] | None, spec: str = ",.0f") -> str | None:
    if spread is None:
        return None
    if spread["least"] == spread["most"]:
        return f"{spread['median']:{spec}}"
    return f"{spread['median']:{spec}} ({spread['least']:{spec}} to {spread['most']:{spec}})"


def _verdict(value: float, goal: float | None) -> str:
    if goal is None:
        return ""
    return f"goal {goal:g}: {'met' if value >= goal else 'missed'}"


def _throughput(kept: Kept) -> Section | None:
    found = _results(kept, "throughput")
    batches = {batch: models for result in found for batch, models in result["batches"].items()}
    if not batches:
        return None
    fastest = f" shardline, fastest: `{' '.join(found[0]['fastest'])}`."
    blocks: list[Block] = [Prose(_THROUGHPUT + fastest), throughput_figure(batches)]
    for model in ("dlrm", "deepfm"):
        by_batch = {batch: models[model] for batch, models in batches.items() if models[model]["samples_per_s"]}
        if by_batch:
            blocks += [_rates(by_batch, model), _pairs(by_batch, model)]
    skipped = {
        name: why for models in batches.values() for each in models.values() for name, why in each["skipped"].items()
    }
    blocks += [Note(f"{name} took no part: {why}.", "warning") for name, why in skipped.items()]
    blocks.append(Prose("Differences that are left:\n\n" + "\n".join(f"- {each}" for each in found[0]["differences"])))
    return Section(title="Training throughput", blocks=blocks)


_THROUGHPUT = (
    "26 tables of 100,000 rows x 64, dense arch 512-256-64, over arch 512-512-256-1 (DeepFM: the same tables, MLP 512-512-256), "
    "one id per feature, SGD. All stay alive and work by turns; ratios are taken round by round."
)


def _rates(by_batch: Mapping[str, Any], model: str) -> Table:
    names = list(dict.fromkeys(name for each in by_batch.values() for name in each["samples_per_s"]))
    rows = [[name, *(_words(each["samples_per_s"].get(name)) for each in by_batch.values())] for name in names]
    title = {"dlrm": "DLRM", "deepfm": "DeepFM"}[model]
    return table([f"{title}, samples/s", *(f"batch {batch}" for batch in by_batch)], rows)


def _pairs(by_batch: Mapping[str, Any], model: str) -> Table:
    pairs = list(dict.fromkeys(pair for each in by_batch.values() for pair in each["ratios"]))
    rows = []
    for pair in pairs:
        row: list[Any] = [pair]
        for each in by_batch.values():
            ratio = each["ratios"].get(pair)
            row += [_words(ratio, ".2f"), _verdict(ratio["median"], each["goals"].get(pair)) if ratio else None]
        rows.append(row)
    titles = [text for batch in by_batch for text in (f"batch {batch}", "")]
    return table(["times as fast", *titles], rows)


def _walkthrough(kept: Kept) -> Section | None:
    found = _results(kept, "walkthrough")
    jobs = {name: job for result in found for name, job in result["jobs"].items()}
    if not jobs:
        return None
    rows = []
    for name, job in jobs.items():
        row: list[Any] = [name]
        for each in ("shardline", "dlrm_s_pytorch"):
            time = job.get(each)
            mark = "" if time is None or time["is_measured"] else " *"
            row.append(None if time is None else f"{_words(time['seconds'], ',.1f')}{mark}")
        ratio = job.get("ratio")
        rows.append([*row, _words(ratio, ".1f"), _verdict(ratio["median"], job["goal"]) if ratio else "no peer"])
    titles = ["job, random data", "shardline, s", "dlrm_s_pytorch.py, s", "times as fast", ""]
    blocks: list[Block] = [
        Prose("From the command to its end: start-up, data, training; ours with evaluation, checkpoint and report."),
        table(titles, rows),
        Prose("\\* drawn out from runs on two shares of the rows, in turn. " + " ".join(found[0]["differences"])),
    ]
    if any("dlrm_s_pytorch" in job for job in jobs.values()):
        blocks.append(walkthrough_figure(jobs))
    return Section(title="Whole jobs beside the DLRM reference", blocks=blocks)


def _roofline(kept: Kept) -> Section | None:
    found = _results(kept, "roofline")
    if not found:
        return None
    result = found[0]
    machine = result["machine"]
    blocks: list[Block] = [
        Prose(
            f"This machine's matrix products reach {machine['gemm_fp32_gflop_per_s']:,.0f} GFLOP/s in fp32 and"
            f" {machine['gemm_bf16_gflop_per_s']:,.1f} in bf16, a copy {machine['copy_gb_per_s']:.1f} GB/s. The bound of a"
            " part is its arithmetic over the former, or its bytes over the latter, as both were measured in turn with the steps;"
            " what has no bound (activations, copies, Python) counts as loss. Medians of quotients. The same DLRM as above; the"
            " batch is halved where this machine would take too long."
        )
    ]
    for precision, step in result["steps"].items():
        rows: list[list[Any]] = [
            [PARTS[part], each["bound_ms"] or None, each["ms"], each["fraction"] if each["bound_ms"] else None]
            for part, each in step["parts"].items()
        ]
        rows.append(["whole step", step["bound_ms"], step["ms"], step["fraction"]])
        caption = f"{precision}, batch {step['batch']:,}: {_reached(step)}"
        specs = {"bound ms": ".2f", "measured ms": ".2f", "reached": ".0%"}
        blocks.append(table(["part", "bound ms", "measured ms", "reached"], rows, specs=specs, caption=caption))
    blocks.append(roofline_figure(result["steps"]))
    return Section(title="How far from the limit of the machine", blocks=blocks)


def _reached(step: Mapping[str, Any]) -> str:
    if step["fraction"] > 1:
        return (
            "no bound, for the model's own products run faster than the square ones that the peak was taken from;"
            f" {step['samples_per_s']:,.0f} samples/s"
        )
    best = f"{step['fraction_of_best']:.0%} beside the peaks above"
    return f"{step['fraction']:.0%} of the bound reached ({best}); {_verdict(step['fraction'], step['goal'])}"


def _rows(kept: Kept) -> Section | None:
    found = _results(kept, "rows")
    if not found:
        return None
    few, many = found[0]["rows"]
    rows = [
        [
            job,
            *each["seconds"].values(),
            each["time_ratio"],
            *each["peak_mib"].values(),
            each["memory_ratio"] - 1,
            each["ok"],
        ]
        for job, each in found[0]["jobs"].items()
    ]
    titles = [
        "job",
        f"s, {few:,} rows",
        f"s, {many:,} rows",
        "times",
        f"MiB, {few:,}",
        f"MiB, {many:,}",
        "more",
        "held",
    ]
    specs = {titles[1]: ".1f", titles[2]: ".1f", "times": ".2f", titles[4]: ",.0f", titles[5]: ",.0f", "more": "+.1%"}
    caption = "Held to: at most 10.5 times as long, at most 5 % more memory"
    return Section(title="Ten times the rows", blocks=[table(titles, rows, specs=specs, caption=caption)])


def _growth(kept: Kept) -> Section | None:
    found = _results(kept, "growth")
    if not found:
        return None
    result = found[0]
    rows = [
        [TITLES[axis], *(_ends(curve, kind, spec) for kind, spec in (("step_ms", ".1f"), ("memory_mib", ",.0f")))]
        + [curve[f"{kind}_exponent"] for kind in ("step_ms", "memory_mib")]
        for axis, curve in result["curves"].items()
    ]
    base = ", ".join(f"{TITLES[axis]} {value:,}" for axis, value in result["base"].items())
    titles = ["what grows", "ms a step", "MiB", "exponent of time", "exponent of memory"]
    specs = {"exponent of time": ".2f", "exponent of memory": ".2f"}
    about = (
        f"One thing grows, the rest stays: {base}; one thread a rank. A power law is fitted to each curve: with an exponent of 1"
        " twice as much costs twice as much. Ranks share this machine's cores and the same global batch."
    )
    return Section(
        title="The cost of growing",
        blocks=[Prose(about), table(titles, rows, specs=specs), growth_figure(result["curves"])],
    )


def _ends(curve: Mapping[str, Any], kind: str, spec: str) -> str:
    first, last = curve["points"][0], curve["points"][-1]
    return f"{first[kind]:{spec}} at {first['size']:,}, {last[kind]:{spec}} at {last['size']:,}"


def _projection(kept: Kept) -> Section | None:
    found = [result["projection"] for result in _results(kept, "growth") if result["projection"]]
    if not found:
        return None
    rows = [
        [f"{gpus} x H100 SXM", each["embedding_ms"], each["dense_ms"], each["steps"], each["hours"]]
        for gpus, each in found[0].items()
    ]
    titles = ["GPUs", "tables and collectives, ms", "dense products, ms", "steps", "hours an epoch"]
    specs = dict.fromkeys(titles[1:3], ".2f") | {"steps": ",d", "hours an epoch": ".2f"}
    note = Note(
        "**Projection, not measured.** Tables: TorchRec's cost model for the planner's plan on the data sheet's bandwidths;"
        " dense products at the data sheet's fp32 peak; nothing overlaps, and reading, Python and stragglers cost nothing. A real"
        " epoch takes longer.",
        "warning",
    )
    title = "Projection: an epoch of Criteo 1TB, MLPerf's DLRM-DCNv2, batch 65,536"
    return Section(title=title, blocks=[note, table(titles, rows, specs=specs)])


def _auc(kept: Kept) -> Section | None:
    if "auc" not in kept:
        return None
    result = kept["auc"]["result"]
    methods = ("shardline", "scikit_learn", "torchmetrics")
    rows = [
        [name.replace("_", "-"), result[name]["seconds"], result[name]["peak_gib"], f"{result[name]['auc']:.12f}"]
        for name in methods
    ]
    specs = {"s": ".2f", "peak GiB": ".2f"}
    caption = (
        f"Exact AUC of {result['rows']:,} scores; shardline's time includes the DeLong interval and the other metrics"
    )
    stream, ranks = result["stream"], result["ranks"]
    words = (
        f"{stream['rows']:,} rows that never lie in memory together: {stream['seconds']:.1f} s, peak"
        f" {stream['peak_gib']:.2f} GiB."
        f" On 1 and on 4 ranks the result has {'the same bits' if ranks['equal'] else '**other bits**'}."
    )
    return Section(
        title="AUC",
        blocks=[table(["method", "s", "peak GiB", "AUC"], rows, specs=specs, caption=caption), Prose(words)],
    )


def _data(kept: Kept) -> Section | None:
    if "data" not in kept:
        return None
    result = kept["data"]["result"]
    rates = table(["what", "rows/s"], [list(item) for item in result["rows_per_s"].items()])
    fractions = table(["pair", "quotient"], [list(item) for item in result["fractions"].items()])
    return Section(title=f"Preparing and reading {result['rows']:,} rows", blocks=[rates, fractions])


def _when(kept: Kept, missing: Sequence[str]) -> Section:
    rows = []
    for name, part in kept.items():
        note = f" ({part['note']})" if part.get("note") else ""  # added by hand
        command = f"`{' '.join([part['command'], *part['peers']])}`{note}"
        rows.append([name, command, *(part[key] for key in ("started", "seconds", "load_before", "commit"))])
    titles = ["part", "command", "started (UTC)", "took s", "load before", "commit"]
    blocks: list[Block] = [table(titles, rows, specs={"took s": ".0f", "load before": ".1f"})]
    if any(part["is_quick"] for part in kept.values()):
        blocks.insert(
            0, Note("Some parts ran at their quick size: their figures say nothing but that they work.", "warning")
        )
    if missing:
        blocks.append(Prose(f"Without a result on this machine yet: {', '.join(missing)}."))
    return Section(title="When and how each part ran", blocks=blocks)
