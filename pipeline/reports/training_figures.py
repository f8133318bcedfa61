"""The drawings of a training run: loss, AUC, learning rates, the parts of a step, speed, calibration."""

from collections.abc import Mapping, Sequence
from statistics import median as _median

from pipeline.metrics.evaluation import Decile
from pipeline.reports.charts import line, reference, stacked_areas, stacked_bars
from pipeline.reports.document import Figure
from pipeline.reports.figures import INK, PALETTE, SOFT, figure_svg, legend_above, new_figure, style

LogRows = Sequence[Mapping[str, float]]

_TIME_PARTS = {
    "time/data_ms": "waiting for data",
    "time/forward_ms": "forward",
    "time/backward_ms": "backward",
    "time/optimizer_ms": "optimizer",
}
FEW_POINTS = 40


def median(values: Sequence[float]) -> float:
    return float(_median(values)) if values else float("nan")


def time_parts(training: LogRows) -> dict[str, list[float]]:
    """Milliseconds per step by part of the step, an entry per training row; only the parts that every row has."""
    return {
        name: [row[key] for row in training] for key, name in _TIME_PARTS.items() if all(key in row for row in training)
    }


def loss_figure(training: LogRows, evaluations: LogRows, metrics: Mapping[str, float]) -> Figure:
    """Training loss over steps, beside it the log loss of the evaluations and the best possible where it is known."""
    steps, losses = _series(training, "train/loss")
    eval_steps, eval_losses = _series(evaluations, "eval/logloss")
    figure, axes = new_figure()
    line(axes, steps, losses, "train", points=len(steps) <= FEW_POINTS)
    if eval_steps:
        line(axes, eval_steps, eval_losses, "val", points=len(eval_steps) <= FEW_POINTS)
    best = metrics.get("data/best_logloss")
    if best is not None:
        reference(axes, best, "best possible")
    axes.set_xlabel("step")
    axes.set_ylabel("log loss (nats)")
    legend_above(axes)
    first, last = f"{losses[0]:.4f} at step {steps[0]:,.0f}", f"{losses[-1]:.4f} at step {steps[-1]:,.0f}"
    at_best = "" if best is None else f"; the best possible is {best:.4f}"
    return Figure(
        name="loss",
        svg=figure_svg(figure, "loss"),
        alt=f"Training loss goes from {first} to {last}{at_best}.",
        caption="Log loss over steps; a training value is the mean since the value before it",
        data={"step": steps, "train": losses, "val_step": eval_steps, "val": eval_losses},
    )


def auc_figure(evaluations: LogRows, metrics: Mapping[str, float]) -> Figure:
    """AUC on the val split over steps, with the best possible where it is known."""
    steps, aucs = _series(evaluations, "eval/auc")
    figure, axes = new_figure()
    line(axes, steps, aucs, "val", points=len(steps) <= FEW_POINTS)
    best = metrics.get("data/best_auc")
    if best is not None:
        reference(axes, best, "best possible (test rows)")
    axes.set_xlabel("step")
    axes.set_ylabel("AUC")
    legend_above(axes)
    top = max(range(len(aucs)), key=aucs.__getitem__)
    return Figure(
        name="auc",
        svg=figure_svg(figure, "auc"),
        alt=f"AUC on val goes from {aucs[0]:.4f} to {aucs[-1]:.4f}; its highest is {aucs[top]:.4f} at step {steps[top]:,.0f}.",
        caption="Exact AUC on the val split over steps",
        data={"step": steps, "val": aucs},
    )


def learning_rate_figure(training: LogRows) -> Figure:
    """Learning rates of the tables and of the dense part over steps."""
    figure, axes = new_figure()
    rates = {name: _series(training, f"lr/{name}") for name in ("sparse", "dense")}
    for (name, (steps, values)), dashes in zip(rates.items(), ("-", (0, (5, 2))), strict=True):
        line(axes, steps, values, {"sparse": "tables", "dense": "dense part"}[name])
        axes.lines[-1].set_linestyle(dashes)  # two equal rates lie on each other
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    legend_above(axes)
    highest = {name: f"{max(values, default=0.0):.3g}" for name, (_, values) in rates.items()}
    return Figure(
        name="learning-rate",
        svg=figure_svg(figure, "learning-rate"),
        alt=f"Learning rates: at most {highest['sparse']} for the tables, {highest['dense']} for the dense part.",
        caption="Learning rates, as they took effect",
        data={name: {"step": steps, "rate": values} for name, (steps, values) in rates.items()},
    )


def time_figure(training: LogRows) -> Figure:
    """Milliseconds of a step by part, over steps."""
    steps = [row["step"] for row in training]
    parts = time_parts(training)
    figure, axes = new_figure()
    if len(steps) > 1:
        stacked_areas(axes, steps, parts)
    else:
        stacked_bars(axes, [f"{steps[0]:,.0f}"], parts)
    axes.set_xlabel("step")
    axes.set_ylabel("ms per step")
    legend_above(axes)
    medians = ", ".join(f"{name} {median(values):.1f} ms" for name, values in parts.items())
    return Figure(
        name="step-time",
        svg=figure_svg(figure, "step-time"),
        alt=f"Where a step's time goes, medians: {medians}.",
        caption="Milliseconds of a step by part, measured on rank 0",
        data={"step": steps, **parts},
    )


def speed_figure(training: LogRows) -> Figure:
    """Samples per second over all ranks, over steps."""
    steps, speeds = _series(training, "perf/samples_per_s")
    figure, axes = new_figure()
    line(axes, steps, [speed / 1000 for speed in speeds], "", points=len(steps) <= FEW_POINTS)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel("thousand samples/s")
    return Figure(
        name="speed",
        svg=figure_svg(figure, "speed"),
        alt=f"Samples per second over steps, median {median(speeds):,.0f}, from {min(speeds):,.0f} to {max(speeds):,.0f}.",
        caption="Samples per second over all ranks, without evaluations and checkpoints",
        data={"step": steps, "samples_per_s": speeds},
    )


def calibration_figure(deciles: Sequence[Decile]) -> Figure:
    """Observed against predicted click rate by tenth of the scores; on the dashed line the two agree."""
    predicted, observed = [item.predicted for item in deciles], [item.observed for item in deciles]
    below = [item.observed - item.observed_low for item in deciles]
    above = [item.observed_high - item.observed for item in deciles]
    top = 1.05 * max(*predicted, *(item.observed_high for item in deciles), 1e-9)
    figure, axes = new_figure()
    with style():
        axes.plot([0, top], [0, top], color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label="predicted = observed")
        look = {"fmt": "o", "color": PALETTE[0], "markersize": 5.5, "ecolor": SOFT, "elinewidth": 1.2, "capsize": 3}
        axes.errorbar(predicted, observed, [below, above], label="a tenth of the rows", **look)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted click rate", ylabel="observed click rate")
    legend_above(axes)
    worst = max(deciles, key=lambda item: abs(item.predicted - item.observed))
    return Figure(
        name="calibration",
        svg=figure_svg(figure, "calibration"),
        alt=f"Observed against predicted click rate in {len(deciles)} groups; they differ most where {worst.predicted:.3f} was "
        f"predicted and {worst.observed:.3f} observed.",
        caption="Calibration on the test split by tenth of the scores, with 95 % intervals of the observed rate",
        data={"predicted": predicted, "observed": observed, "rows": [item.num_rows for item in deciles]},
    )


def _series(rows: LogRows, key: str) -> tuple[list[float], list[float]]:
    """Steps and values of the rows that have the key."""
    having = [row for row in rows if key in row]
    return [row["step"] for row in having], [row[key] for row in having]
