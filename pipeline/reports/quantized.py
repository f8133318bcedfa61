"""The report of what fewer bits cost: size, quality against the first model, latency and rows per second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.inference.latency import Latency
from pipeline.inference.quality import LIMITS, Quality
from pipeline.reports.document import Block, Card, Note, Prose, Report, Section, Table, table
from pipeline.reports.quantized_figures import auc_figure, latency_figure, size_figure, throughput_figure

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One model of the report. `tables`: how many tables have which type; `num_bytes`: its weights as stored."""

    name: str
    tables: str
    dense: str
    num_bytes: int
    quality: Quality
    latencies: Sequence[Latency]


def quantized_report(models: Sequence[Compared], split: str, provenance: Mapping[str, str]) -> Report:
    """The whole report; the first model is the one that the others are held against."""
    first, others = models[0], models[1:]
    num_rows = first.quality.evaluation.num_rows
    return Report(
        title="Quantized models compared",
        subtitle=f"{len(models)} models on the same {num_rows:,} rows of {split}; differences are against {first.name}",
        cards=_cards(first, others),
        sections=[
            Section(
                title="Verdict", blocks=[*_verdicts(first, others), size_figure(models), auc_figure(first, others)]
            ),
            Section(title="Quality", blocks=[_auc_table(models), _others_table(models)]),
            Section(title="Speed", blocks=[latency_figure(models), throughput_figure(models), _speed_table(models)]),
            Section(title="How to read this", blocks=[Prose(_WORDS)]),
        ],
        provenance=provenance,
        results=results(models),
    )


def results(models: Sequence[Compared]) -> dict[str, Any]:
    """Flat keys: `<model>/bytes`, `<model>/auc`, `<model>/auc_difference_low`, `<model>/p99_ms_at_64` ..."""
    found: dict[str, Any] = {}
    for model in models:
        quality = model.quality
        values: dict[str, Any] = {"bytes": model.num_bytes, **quality.evaluation.metrics()}
        for name, difference in (("auc", quality.auc), ("logloss", quality.logloss)):
            values |= {f"{name}_difference": difference.value}
            values |= {f"{name}_difference_low": difference.low, f"{name}_difference_high": difference.high}
        values["largest_move"] = quality.largest_move
        values |= {f"keeps_{limit:g}": quality.verdict(limit) for limit in LIMITS}
        for each in model.latencies:
            values |= {f"p50_ms_at_{each.batch_size}": each.p50_ms, f"p99_ms_at_{each.batch_size}": each.p99_ms}
            values |= {f"rows_per_s_at_{each.batch_size}": each.median_rows_per_s}
        found |= {f"{model.name}/{key}": value for key, value in values.items()}
    return found


def _cards(first: Compared, others: Sequence[Compared]) -> list[Card]:
    keeping = [model for model in others if model.quality.verdict(LIMITS[-1]) == "kept"]
    auc = first.quality.evaluation.auc
    cards = [Card(label=f"AUC, {first.name}", value=f"{auc:.5f}", note=f"{first.num_bytes / MIB:,.2f} MiB of weights")]
    if not keeping:
        return [*cards, Card(label=f"Within {_percent(LIMITS[-1])} of it", value="none", note="by the 95 % interval")]
    smallest = min(keeping, key=lambda model: model.num_bytes)
    loss = smallest.quality.auc
    return [
        *cards,
        Card(label=f"Smallest within {_percent(LIMITS[-1])}", value=smallest.name, note="by the 95 % interval"),
        Card(
            label="Its size",
            value=f"{smallest.num_bytes / first.num_bytes:.1%}",
            note=f"{smallest.num_bytes / MIB:,.2f} MiB of weights",
        ),
        Card(label="Its AUC", value=f"{loss.value:+.6f}", note=f"95 % from {loss.low:+.6f} to {loss.high:+.6f}"),
    ]


def _verdicts(first: Compared, others: Sequence[Compared]) -> list[Block]:
    return [Note(_verdict(first, model), _tone(model)) for model in others]


def _verdict(first: Compared, model: Compared) -> str:
    auc = model.quality.auc
    share = f"{model.num_bytes / first.num_bytes:.1%} of the size"
    change = f"AUC {auc.value:+.6f} [{auc.low:+.6f}, {auc.high:+.6f}]"
    words = {"kept": "keeps", "broken": "does not keep", "undecided": "may or may not keep"}
    limits = ", ".join(f"{words[model.quality.verdict(limit)]} {_percent(limit)}" for limit in LIMITS)
    more = "" if "undecided" not in [model.quality.verdict(limit) for limit in LIMITS] else " (more rows would tell)"
    moves = f"A single row's probability moves by up to {model.quality.largest_move:.2g}"
    return f"**{model.name}**: {share}, {change}; {limits} of the AUC{more}. {moves}."


def _tone(model: Compared) -> Any:
    verdict = model.quality.verdict(LIMITS[-1])
    return {"kept": "good", "broken": "warning", "undecided": "info"}[verdict]


def _auc_table(models: Sequence[Compared]) -> Table:
    rows = [
        [
            model.name,
            model.tables,
            model.dense,
            model.num_bytes / MIB,
            model.quality.evaluation.auc,
            model.quality.auc.value,
            model.quality.auc.low,
            model.quality.auc.high,
        ]
        for model in models
    ]
    titles = ["model", "tables", "dense", "MiB", "AUC", "difference", "95 % from", "to"]
    specs = {"MiB": ",.2f", "AUC": ".6f", **dict.fromkeys(titles[5:], "+.6f")}
    return table(titles, rows, specs=specs, caption="Size and AUC, with paired DeLong intervals on the same rows")


def _others_table(models: Sequence[Compared]) -> Table:
    rows = [
        [
            model.name,
            *(model.quality.verdict(limit) for limit in LIMITS),
            model.quality.evaluation.logloss,
            model.quality.logloss.value,
            model.quality.evaluation.summary()["calibration"],
            model.quality.largest_move,
        ]
        for model in models
    ]
    titles = ["model", *(f"{_percent(limit)} of the AUC" for limit in LIMITS)]
    more = ["log loss", "its difference", "calibration", "largest move"]
    specs = {"log loss": ".6f", "its difference": "+.6f", "calibration": ".4f", "largest move": ".2g"}
    return table(
        [*titles, *more],
        rows,
        specs=specs,
        caption="MLPerf Inference's limits, judged by the whole interval; `largest move` is of one row's probability",
    )


def _speed_table(models: Sequence[Compared]) -> Table:
    rows = [
        [
            model.name,
            each.batch_size,
            each.p50_ms,
            each.p99_ms,
            each.median_rows_per_s,
            min(each.rows_per_s),
            max(each.rows_per_s),
            each.num_calls,
        ]
        for model in models
        for each in model.latencies
    ]
    titles = ["model", "rows per call", "p50 ms", "p99 ms", "rows/s", "slowest round", "fastest round", "calls"]
    specs = {"p50 ms": ".3f", "p99 ms": ".3f", **dict.fromkeys(titles[4:7], ",.0f")}
    return table(
        titles, rows, specs=specs, caption="Measured from flat tensors to probabilities; rows/s is the median round's"
    )


def _percent(limit: float) -> str:
    return f"{100 * limit:g} %"


_WORDS = """\
**Size** is that of the weights as they are stored. An int8 or int4 row carries a scale and a bias of 4 bytes in all, so narrow \
tables shrink less than their bits promise. Dense layers in dynamic int8 are stored in float32 and computed in int8.

**Difference** is the model's AUC less the first one's on the same rows (paired DeLong): what fewer bits do to the order of the \
scores is known far better than either AUC. A limit is `kept` where the whole interval lies above it, `broken` where all of it \
lies below, else `undecided`: these rows cannot tell. AUC knows nothing of how large scores are: where they are used as \
probabilities, look at log loss, calibration and the largest move too.

**Latency** was measured on the machine below, the models in turn, with what else ran there at the time. Feature transforms are \
not in it. On a CPU fewer bits pay where memory is the limit, which is large tables and small batches; p99 over few calls is \
nearly the slowest one."""
