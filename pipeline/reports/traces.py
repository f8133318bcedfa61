"""The report of learned access patterns: for each feature, a trace generated from its pattern beside its source."""

from collections.abc import Mapping, Sequence

import numpy as np

from data.generating.trace_comparison import TraceComparison
from pipeline.reports.charts import line
from pipeline.reports.document import Block, Card, Figure, Note, Prose, Report, Section, table
from pipeline.reports.figures import OTHERS, PALETTE, figure_svg, legend_above, new_figure, style

CLOSE_ENOUGH = 0.02
_DRAWN = 3


def trace_report(comparisons: Sequence[TraceComparison], provenance: Mapping[str, str]) -> Report:
    """Hit rates of every feature in a table; curves, growth and distances of up to three that differ most in skew."""
    worst = max(comparisons, key=lambda item: item.largest_difference)
    return Report(
        title="Access patterns",
        subtitle=f"{len(comparisons)} features, and traces as long generated from what was learned",
        cards=[
            Card(
                label="Largest difference of hit rates",
                value=f"{100 * worst.largest_difference:.2f} points",
                note=f"{worst.name}, over ten cache sizes",
            ),
            Card(label="Features", value=f"{len(comparisons)}"),
            Card(label="Accesses", value=f"{comparisons[0].num_accesses:,}", note=f"of {comparisons[0].name}"),
        ],
        sections=[
            Section(title="How well the traces match", blocks=[_verdict(comparisons), _overview(comparisons)]),
            *(_section(item) for item in _of_different_skew(comparisons)),
            Section(title="How to read this", blocks=[Prose(_WORDS)]),
        ],
        provenance=provenance,
        results={
            f"{item.name}/{key}": value
            for item in comparisons
            for key, value in (
                ("largest_difference", item.largest_difference),
                ("num_ids", item.source.num_ids),
                ("cache_sizes", item.sizes),
                ("source_hit_rates", item.source.hits),
                ("trace_hit_rates", item.trace.hits),
            )
        },
    )


def _verdict(comparisons: Sequence[TraceComparison]) -> Note:
    far = [item.name for item in comparisons if item.largest_difference > CLOSE_ENOUGH]
    if far:
        return Note(f"The hit rates of {', '.join(far)} are off by more than two points.", "warning")
    return Note("Every feature's hit rates lie within two points of its source's at all ten cache sizes.", "good")


def _overview(comparisons: Sequence[TraceComparison]) -> Block:
    rows = [
        [
            item.name,
            item.source.num_ids,
            item.trace.num_ids,
            float(item.source.hits[-1]),
            _at_a_tenth(item, item.source.curve),
            _at_a_tenth(item, item.trace.curve),
            100 * item.largest_difference,
        ]
        for item in comparisons
    ]
    titles = [
        "feature",
        "ids",
        "ids, trace",
        "repeats",
        "hits at 1/10",
        "hits at 1/10, trace",
        "largest difference (points)",
    ]
    specs = {**dict.fromkeys(titles[3:6], ".1%"), titles[6]: ".2f"}
    return table(titles, rows, specs=specs, caption="Hits at 1/10: of an LRU cache that holds a tenth of the ids")


def _at_a_tenth(item: TraceComparison, curve: np.ndarray) -> float:
    return float(np.interp(item.source.num_ids / 10, item.curve_sizes, curve))


def _of_different_skew(comparisons: Sequence[TraceComparison]) -> list[TraceComparison]:
    """The features with the fewest repeats, the most, and one between."""
    ordered = sorted(comparisons, key=lambda item: item.source.hits[-1])
    places = sorted({0, len(ordered) // 2, len(ordered) - 1})
    return [ordered[place] for place in places][:_DRAWN]


def _section(item: TraceComparison) -> Section:
    rows = [
        [int(size), float(source), float(trace), 100 * float(trace - source)]
        for size, source, trace in zip(item.sizes, item.source.hits, item.trace.hits, strict=True)
    ]
    titles = ["cache size (ids)", "source", "trace", "difference (points)"]
    specs = {"source": ".2%", "trace": ".2%", "difference (points)": "+.2f"}
    hits = table(titles, rows, specs=specs, caption="Hit rate of an LRU cache, from empty")
    return Section(title=item.name, blocks=[_hits_figure(item), _growth_figure(item), _distances_figure(item), hits])


def _hits_figure(item: TraceComparison) -> Figure:
    figure, axes = new_figure()
    with style():
        axes.plot(item.curve_sizes, item.source.curve, color=OTHERS, linewidth=5, label="source")
        axes.plot(item.curve_sizes, item.trace.curve, color=PALETTE[0], label="trace")
        axes.plot(item.sizes, item.trace.hits, "o", color=PALETTE[0], markersize=4.5)
    axes.set(xscale="log", ylim=(0, 1), xlabel="cache size (ids)", ylabel="hit rate")
    legend_above(axes)
    return _figure(
        item,
        figure,
        "hits",
        "Hit rate of an LRU cache by its size",
        f"Hit rates of source and trace over the cache size; they differ by at most {100 * item.largest_difference:.2f} points.",
        {"sizes": item.curve_sizes, "source": item.source.curve, "trace": item.trace.curve},
    )


def _growth_figure(item: TraceComparison) -> Figure:
    figure, axes = new_figure()
    with style():
        axes.plot(item.accesses, item.source.growth, color=OTHERS, linewidth=5, label="source")
    line(axes, item.accesses.tolist(), item.trace.growth.tolist(), "trace")
    axes.set(ylim=(0, None), xlabel="accesses", ylabel="distinct ids")
    axes.ticklabel_format(style="plain")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    legend_above(axes)
    return _figure(
        item,
        figure,
        "growth",
        "Distinct ids met so far",
        f"Distinct ids over the accesses: {item.source.num_ids:,} in the source, {item.trace.num_ids:,} in the trace at the end.",
        {"accesses": item.accesses, "source": item.source.growth, "trace": item.trace.growth},
    )


def _distances_figure(item: TraceComparison) -> Figure:
    names = ["new", *(f"{2**octave:,}" for octave in range(len(item.source.octaves) - 1))]
    places = np.arange(len(names))
    figure, axes = new_figure(wide=True)
    with style():
        axes.bar(places - 0.2, item.source.octaves, 0.38, color=OTHERS, label="source")
        axes.bar(places + 0.2, item.trace.octaves, 0.38, color=PALETTE[0], label="trace")
        axes.grid(visible=False, axis="x")
        axes.set_xticks(places, names)
    axes.set(xlabel="stack distance, from this value up to the next", ylabel="fraction of the accesses")
    legend_above(axes)
    far = float(np.abs(item.source.octaves - item.trace.octaves).max())
    return _figure(
        item,
        figure,
        "distances",
        "Stack distances: how many other ids were used since an id's last use",
        f"Fractions of the accesses by stack distance, in powers of two; they differ by at most {100 * far:.2f} points.",
        {"from": names, "source": item.source.octaves, "trace": item.trace.octaves},
        wide=True,
    )


def _figure(
    item: TraceComparison,
    figure: object,
    kind: str,
    caption: str,
    alt: str,
    data: Mapping[str, object],
    *,
    wide: bool = False,
) -> Figure:
    name = f"{kind}-{''.join(letter if letter.isalnum() else '-' for letter in item.name)}"
    return Figure(name=name, svg=figure_svg(figure, name), alt=alt, caption=caption, wide=wide, data=data)  # pyright: ignore[reportArgumentType]


_WORDS = """\
The **stack distance** of an access is how many distinct ids were used since the last use of its id, itself included: 1 \
repeats the id just used, "new" is a first use. An LRU cache of c ids hits exactly the accesses of distance 1 to c, so two \
traces with the same distances load a cache, an embedding cache in front of slow memory included, alike.

A pattern holds how often each distance occurs and how fast new ids come, nothing of the ids themselves: it can leave the house \
where the data cannot. **Repeats** is the fraction of accesses to an id met before, the hit rate of a cache without end."""
