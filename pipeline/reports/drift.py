"""The report of drift between two prepared sets: what moved, how far, and where to."""

from collections.abc import Mapping, Sequence

import numpy as np

from data.reading.drift import Drift, FeatureDrift
from pipeline.reports.document import Block, Card, Figure, Note, Prose, Report, Section, Table, table
from pipeline.reports.figures import INK, OTHERS, PALETTE, figure_svg, legend_above, new_figure, style

_MOST_SHOWN = 4
_MOST_BARS = 40
_TITLES = [
    "feature",
    "PSI",
    "by chance",
    "verdict",
    "missing A",
    "missing B",
    "mean A",
    "mean B",
    "row 0 A",
    "row 0 B",
    "new ids B",
]
_RATES = ["missing A", "missing B", "row 0 A", "row 0 B", "new ids B"]


def drift_report(drift: Drift, warn_at: float, alarm_at: float, provenance: Mapping[str, str]) -> Report:
    """Verdict and label rates, the index of every feature, the buckets of those that moved furthest."""
    moved = [item for item in drift.features if item.psi >= warn_at]
    blocks: list[Block] = [_verdict(drift, warn_at, alarm_at), _index_figure(drift, warn_at, alarm_at)]
    return Report(
        title="Drift",
        subtitle=f"A: {drift.name_a}, {drift.num_rows_a:,} rows. B: {drift.name_b}, {drift.num_rows_b:,} rows",
        cards=_cards(drift, warn_at, alarm_at),
        sections=[
            Section(title="What moved", blocks=[*blocks, *_left_out(drift)]),
            Section(title="Every feature", blocks=[drift_table(drift, warn_at, alarm_at)]),
            *(
                [Section(title="Where to", blocks=[_buckets_figure(item) for item in moved[:_MOST_SHOWN]])]
                if moved
                else []
            ),
            Section(title="How to read this", blocks=[Prose(_WORDS)]),
        ],
        provenance=provenance,
        results=drift_results(drift),
    )


def drift_results(drift: Drift) -> dict[str, float | None]:
    """Flat keys: `label_rate_a`, ..., and `<feature>/psi`, `<feature>/new_rate` and so on."""
    results: dict[str, float | None] = {
        "num_rows_a": drift.num_rows_a,
        "num_rows_b": drift.num_rows_b,
        "label_rate_a": drift.label_rate_a,
        "label_rate_b": drift.label_rate_b,
        "label_z": drift.label_z,
    }
    keys = (
        "psi",
        "psi_by_chance",
        "missing_a",
        "missing_b",
        "mean_a",
        "mean_b",
        "unmapped_a",
        "unmapped_b",
        "new_rate",
    )
    return results | {f"{item.name}/{key}": getattr(item, key) for item in drift.features for key in keys}


def drift_table(drift: Drift, warn_at: float, alarm_at: float) -> Table:
    """A row for each feature, furthest moved first."""
    rows = [
        [
            item.name,
            item.psi,
            item.psi_by_chance,
            verdict_of(item, warn_at, alarm_at),
            item.missing_a,
            item.missing_b,
            item.mean_a,
            item.mean_b,
            item.unmapped_a,
            item.unmapped_b,
            item.new_rate,
        ]
        for item in drift.features
    ]
    specs = {"PSI": ".4f", "by chance": ".4f", "mean A": ".3f", "mean B": ".3f", **dict.fromkeys(_RATES, ".1%")}
    return table(_TITLES, rows, specs=specs)


def verdict_of(item: FeatureDrift, warn_at: float, alarm_at: float) -> str:
    """In a word: moved far, moved, or steady."""
    return "moved far" if item.psi >= alarm_at else "moved" if item.psi >= warn_at else "steady"


def _cards(drift: Drift, warn_at: float, alarm_at: float) -> list[Card]:
    far = sum(item.psi >= alarm_at for item in drift.features)
    moved = sum(warn_at <= item.psi < alarm_at for item in drift.features)
    newest = max(drift.features, key=lambda item: item.new_rate or 0.0)
    return [
        Card(label="Features that moved", value=f"{far + moved} of {len(drift.features)}", note=f"{far} of them far"),
        Card(label="Largest index", value=f"{drift.features[0].psi:.3f}", note=drift.features[0].name),
        Card(
            label="Label rate",
            value=f"{drift.label_rate_a:.2%} to {drift.label_rate_b:.2%}",
            note=f"{drift.label_z:+.1f} standard errors",
        ),
        Card(
            label="Most new ids",
            value="none" if not newest.new_rate else f"{newest.new_rate:.1%}",
            note=f"of B's in {newest.name}",
        ),
    ]


def _verdict(drift: Drift, warn_at: float, alarm_at: float) -> Note:
    far = [item.name for item in drift.features if item.psi >= alarm_at]
    moved = [item.name for item in drift.features if warn_at <= item.psi < alarm_at]
    if far:
        also = f"; {_listed(moved)} moved" if moved else ""
        return Note(f"**{_listed(far)}** moved far (index {alarm_at:g} or more){also}.", "warning")
    if moved:
        return Note(f"{_listed(moved)} moved (index {warn_at:g} or more); none moved far.", "info")
    return Note(f"No feature moved: every index is below {warn_at:g}.", "good")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _left_out(drift: Drift) -> list[Block]:
    if not drift.left_out:
        return []
    reasons = "; ".join(f"{name}: {reason}" for name, reason in drift.left_out.items())
    return [Note(f"Not compared: {reasons}.", "info")]


def _index_figure(drift: Drift, warn_at: float, alarm_at: float) -> Figure:
    shown = drift.features[:_MOST_BARS]
    figure, axes = new_figure(wide=True)
    places = np.arange(len(shown))
    colours = [
        PALETTE[1] if item.psi >= alarm_at else PALETTE[4] if item.psi >= warn_at else PALETTE[0] for item in shown
    ]
    with style():
        axes.bar(places, [item.psi for item in shown], 0.72, color=colours)
        axes.plot(places, [item.psi_by_chance for item in shown], "_", color=INK, markersize=11, label="by chance")
        for level, name, dashes in ((warn_at, "moved", (4, 3)), (alarm_at, "moved far", (1, 2))):
            axes.axhline(level, color=INK, linewidth=1.1, linestyle=(0, dashes), label=f"{name}: {level:g}")
        axes.grid(visible=False, axis="x")
        axes.set_xticks(places, [item.name for item in shown], rotation=90 if len(shown) > 14 else 0)
    axes.set(ylabel="population stability index")
    legend_above(axes)
    return Figure(
        name="index",
        svg=figure_svg(figure, "index"),
        alt="Index of each feature: " + ", ".join(f"{item.name} {item.psi:.3f}" for item in shown) + ".",
        caption="Population stability index of each feature",
        wide=True,
        data={"feature": [item.name for item in shown], "psi": [item.psi for item in shown]},
    )


def _buckets_figure(item: FeatureDrift) -> Figure:
    """Shares by bucket; of many, those that add most to the index."""
    a, b = item.shares_a, item.shares_b
    weight = np.abs(b - a)
    chosen = np.sort(np.argsort(-weight)[:12])
    figure, axes = new_figure()
    places = np.arange(len(chosen))
    with style():
        axes.barh(places - 0.2, a[chosen], 0.38, color=OTHERS, label="A")
        axes.barh(places + 0.2, b[chosen], 0.38, color=PALETTE[0], label="B")
        axes.grid(visible=False, axis="y")
        axes.set_yticks(places, [item.buckets[place] for place in chosen])
        axes.invert_yaxis()
    axes.set(xlabel="share of the rows" if item.kind == "dense" else "share of the ids")
    legend_above(axes)
    name = "buckets-" + "".join(letter if letter.isalnum() else "-" for letter in item.name)
    most = int(np.argmax(weight))
    return Figure(
        name=name,
        svg=figure_svg(figure, name),
        alt=f"Shares of {item.name} by bucket; furthest apart is {item.buckets[most]}: {a[most]:.1%} in A, {b[most]:.1%} in B.",
        caption=f"{item.name}, index {item.psi:.3f}: the buckets that differ most",
        data={"bucket": item.buckets, "a": a, "b": b},
    )


_WORDS = """\
The **population stability index** compares the shares a and b of a feature's buckets: the sum of (b - a) ln(b / a). Below 0.1 a \
feature counts as steady, from 0.25 on as another one than it was; **by chance** is about what two samples of the same rows \
would show. Dense buckets are of equally many rows of A; sparse ones are A's most frequent ids, the others by rank, and one for \
all that is rare in A, missing, or new.

**Row 0** is looked up by what is missing, rare or unknown. **New ids** are B's, mapped there, that A's tables do not know: a \
model trained on A scores them without having seen them; samples of one source have some, too, where ids are many. Missing rates \
are those that preparing wrote down of the train split."""
