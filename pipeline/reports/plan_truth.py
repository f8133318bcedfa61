"""Estimated beside measured: the part of a report that says how far its estimates can be trusted."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from pipeline.reports.document import Block, Column, Figure, Note, Section, Table
from pipeline.reports.figures import INK, PALETTE, figure_svg, legend_above, new_figure, plain_ticks, style
from sharding_plans.comparing.data_effect import DataEffect
from sharding_plans.comparing.truth import Truth, judged
from sharding_plans.measuring.measurement import EMBEDDING_PARTS, PARTS

MOST_TABLES = 30
KINDS = {"torchrec": "TorchRec's estimate", "calibrated": "after calibration"}


def truth_section(truths: Sequence[Truth]) -> Section:
    """The scatter, the order, and the error of each term, of plans that were measured."""
    blocks: list[Block] = [_verdict(truths), truth_figure(truths), _plans_table(truths), _parts_table(truths)]
    return Section(title="Estimated and measured", blocks=blocks)


def truth_figure(truths: Sequence[Truth]) -> Figure:
    """Estimate over measurement, a point a plan, with the diagonal; hollow points were used to fit."""
    figure, axes = new_figure(wide=True, height=360)
    measured = [truth.measured_ms for truth in truths]
    drawn: dict[str, list[float]] = {"torchrec": [truth.torchrec_ms for truth in truths]}
    fitted = [truth.calibrated_ms for truth in truths]
    if all(ms is not None for ms in fitted):
        drawn["calibrated"] = [ms for ms in fitted if ms is not None]
    with style():
        for (kind, estimates), colour in zip(drawn.items(), (PALETTE[1], PALETTE[0]), strict=False):
            _points(axes, truths, measured, estimates, KINDS[kind], colour)
        _diagonal(axes, [value for values in (measured, *drawn.values()) for value in values if value > 0])
    axes.set_xlim(min(measured) * 0.7, max(measured) * 1.4)
    axes.set_xlabel("measured (ms)")
    axes.set_ylabel("estimated (ms)")
    legend_above(axes, columns=3)
    return Figure(
        name="truth",
        svg=figure_svg(figure, "truth"),
        alt=_in_words(truths),
        caption="Embedding part of a step: estimate against measurement, a point a plan, both scales logarithmic. On the line"
        " they agree; hollow points are plans that the calibration was fitted to",
        wide=True,
        data={"plans": [truth.name for truth in truths], "measured_ms": measured, **drawn},
    )


def data_table(effect: DataEffect) -> Table:
    """What the data say of each table, and its layout without and with that."""
    columns = [
        Column(title="table"),
        Column(title="rows"),
        Column(title="ids a row", spec=",.2f"),
        Column(title="lookups on the hottest 1 %", spec=".0%"),
        Column(title="distinct rows a step", spec=",.0f"),
        Column(title="without statistics"),
        Column(title="with them"),
    ]
    ordered = sorted(effect.tables, key=lambda table: (not table.is_changed, -table.num_embeddings))[:MOST_TABLES]
    rows = [
        [
            table.name,
            table.num_embeddings,
            table.ids_per_row,
            table.hottest_share,
            table.distinct_rows,
            table.without,
            table.with_data,
        ]
        for table in ordered
    ]
    return Table(columns=columns, rows=rows, caption=f"{effect.label}: tables that are laid out otherwise come first")


def _points(
    axes: Axes, truths: Sequence[Truth], measured: list[float], estimates: list[float], label: str, colour: str
) -> None:
    for was_fitted_to in (False, True):
        chosen = [i for i, truth in enumerate(truths) if truth.was_fitted_to == was_fitted_to]
        face: dict[str, Any] = {"facecolors": "none", "edgecolors": colour} if was_fitted_to else {"color": colour}
        name = None if was_fitted_to else label
        x, y = [measured[i] for i in chosen], [max(estimates[i], 1e-4) for i in chosen]
        axes.scatter(x, y, s=42, label=name, zorder=3, alpha=0.85, **face)


def _diagonal(axes: Axes, values: list[float]) -> None:
    low, high = min(values) * 0.7, max(values) * 1.4
    axes.plot([low, high], [low, high], color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label="estimate = measurement")
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)


def _in_words(truths: Sequence[Truth]) -> str:
    found = judged(truths)
    texts = [
        f"{KINDS[kind]}: rank correlation {each.rank_correlation:.2f}, median error {each.median_error:.0%}"
        for kind, each in found.items()
    ]
    return f"{len(truths)} measured plans. " + "; ".join(texts) + "."


def _verdict(truths: Sequence[Truth]) -> Note:
    found = judged(truths)
    num_fitted = sum(truth.was_fitted_to for truth in truths)
    texts = [
        f"{KINDS[kind].capitalize() if kind == 'calibrated' else KINDS[kind]}: rank correlation {each.rank_correlation:.2f},"
        f" median error {each.median_error:.0%}, worst {each.worst_error:.0%}."
        for kind, each in found.items()
    ]
    if "calibrated" not in found:
        texts.append("There is no calibration for these ranks; `shardline calibrate` makes one.")
    counted = found["torchrec"].num_plans
    texts.append(
        f"Judged by {counted} plan{'s' if counted != 1 else ''} that no calibration was fitted to"
        + (f"; {num_fitted} others were used to fit and do not count." if num_fitted else ".")
    )
    return Note(" ".join(texts), "info")


def _plans_table(truths: Sequence[Truth]) -> Table:
    ordered = sorted(truths, key=lambda truth: truth.measured_ms)
    by_torchrec = _places([truth.torchrec_ms for truth in ordered])
    by_fit = _places([truth.calibrated_ms or 0.0 for truth in ordered])
    columns = [
        Column(title="#"),
        Column(title="plan"),
        Column(title="tables by type"),
        Column(title="measured (ms)", spec=",.2f"),
        Column(title="p10-p90"),
        Column(title="TorchRec (ms)", spec=",.2f"),
        Column(title="its place"),
        Column(title="calibrated (ms)", spec=",.2f"),
        Column(title="error", spec="+.0%"),
        Column(title="its place"),
        Column(title="used to fit"),
    ]
    rows = []
    for place, truth in enumerate(ordered, start=1):
        fitted = truth.calibrated_ms
        last = truth.measurements[-1]
        rows.append(
            [
                place,
                truth.name,
                truth.sharding_types,
                truth.measured_ms,
                f"{last.embedding_p10_ms:,.1f}-{last.embedding_p90_ms:,.1f}",
                truth.torchrec_ms,
                by_torchrec[place - 1],
                fitted,
                None if fitted is None else fitted / truth.measured_ms - 1,
                None if fitted is None else by_fit[place - 1],
                truth.was_fitted_to,
            ]
        )
    return Table(
        columns=columns, rows=rows, caption="Embedding part of a step, in the measured order, and each estimate's"
    )


def _places(values: Sequence[float]) -> list[int]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    places = [0] * len(values)
    for place, i in enumerate(order, start=1):
        places[i] = place
    return places


def _parts_table(truths: Sequence[Truth]) -> Table:
    held_out = [truth for truth in truths if not truth.was_fitted_to] or list(truths)
    rows = []
    for part in EMBEDDING_PARTS:
        measured = sum(truth.measured[part] for truth in held_out)
        fitted = [truth.calibrated[part] for truth in held_out if truth.calibrated is not None]
        rows.append(
            [
                PARTS[part],
                measured / len(held_out),
                sum(truth.torchrec[part] for truth in held_out) / measured if measured else None,
                sum(fitted) / measured if measured and len(fitted) == len(held_out) else None,
            ]
        )
    columns = [
        Column(title="term"),
        Column(title="measured, mean (ms)", spec=",.2f"),
        Column(title="TorchRec / measured", spec=".3f"),
        Column(title="calibrated / measured", spec=".3f"),
    ]
    return Table(
        columns=columns,
        rows=rows,
        caption="Which terms are wrong by how much, plans used to fit left out (1: right)",
    )
