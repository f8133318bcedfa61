"""Which table lies where, and what that is estimated to cost each rank: the plan as reports draw it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.reports.charts import heat_map, stacked_bars, with_rest_added_up
from pipeline.reports.document import Block, Column, Figure, Prose, Table
from pipeline.reports.figures import PALETTE, figure_svg, legend_above, new_figure

if TYPE_CHECKING:
    from torchrec.distributed.planner.types import ShardingOption

MOST_TABLES_DRAWN = 40
MOST_RANKS_IN_HALF = 8
GIB, MIB = 2**30, 2**20


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One table's place in a plan. The per-rank figures have one entry per rank, 0.0 where the rank holds nothing of it."""

    table: str
    sharding_type: str
    compute_kernel: str
    num_embeddings: int
    embedding_dim: int
    bytes_per_rank: tuple[float, ...]
    """Estimated memory in bytes: weights, optimizer state, input and output buffers."""
    ms_per_rank: tuple[float, ...]
    """Estimated milliseconds per step: forward and backward, computing and communicating."""

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(rank for rank, held in enumerate(self.bytes_per_rank) if held > 0)


def placements(options: "Iterable[ShardingOption]", num_ranks: int) -> list[Placement]:
    """The placements of a planner's chosen options, in their order; storage adds HBM and host memory."""
    return [_placement(option, num_ranks) for option in options]


def plan_blocks(plan: Sequence[Placement]) -> list[Block]:
    """Prose, figures and a table that show a plan: memory and time per rank, who holds what, each table's place.

    No figures for one rank, which holds everything: the table says it all.
    """
    num_ranks = len(plan[0].bytes_per_rank)
    if num_ranks == 1:
        return [_sentence(plan, num_ranks), _placement_table(plan)]
    shown = _weightiest(plan)
    memory = _per_rank_figure("memory", "Estimated memory", {item.table: item.bytes_per_rank for item in plan}, shown)
    time = _per_rank_figure("time", "Estimated time per step", {item.table: item.ms_per_rank for item in plan}, shown)
    heat = _heat_figure(plan, num_ranks)
    figures = [memory, heat, time] if heat.tall else [memory, time, heat]
    return [_sentence(plan, num_ranks), *figures, _placement_table(plan)]


def _placement(option: "ShardingOption", num_ranks: int) -> Placement:
    held, spent = [0.0] * num_ranks, [0.0] * num_ranks
    for shard in option.shards:
        if shard.rank is not None and shard.storage is not None:
            held[shard.rank] += shard.storage.hbm + shard.storage.ddr
        if shard.rank is not None and shard.perf is not None:
            spent[shard.rank] += shard.perf.total
    rows, columns = option.tensor.shape
    return Placement(
        table=option.name,
        sharding_type=option.sharding_type,
        compute_kernel=option.compute_kernel,
        num_embeddings=rows,
        embedding_dim=columns,
        bytes_per_rank=tuple(held),
        ms_per_rank=tuple(spent),
    )


def _spread(totals: np.ndarray) -> str:
    """How evenly the ranks are loaded: the fullest over the mean."""
    return f"{totals.max() / totals.mean():.2f} times the mean" if totals.mean() > 0 else "nothing"


def _sentence(plan: Sequence[Placement], num_ranks: int) -> Prose:
    held = np.sum([item.bytes_per_rank for item in plan], axis=0)
    spent = np.sum([item.ms_per_rank for item in plan], axis=0)
    kinds: dict[str, int] = {}
    for item in plan:
        kinds[item.sharding_type] = kinds.get(item.sharding_type, 0) + 1
    chosen = ", ".join(f"{count} `{kind}`" for kind, count in sorted(kinds.items(), key=lambda kind: -kind[1]))
    if num_ranks == 1:
        scale, unit = _unit(held[0], "memory")
        loads = f"It holds {held[0] / scale:.3g} {unit} and works {spent[0]:.3g} ms per step"
    else:
        loads = f"The fullest rank holds {_spread(held)}, the slowest works {_spread(spent)}"
    return Prose(
        f"{len(plan)} tables on {num_ranks} rank{'s' if num_ranks > 1 else ''}: {chosen}. {loads}. Memory and time are TorchRec's"
        " estimates, not measurements; the time adds up computing and communication as if nothing overlapped."
    )


def _unit(largest: float, name: str) -> tuple[float, str]:
    """What to divide by, and the unit's name."""
    if name == "time":
        return 1.0, "ms"
    return (GIB, "GiB") if largest >= 0.5 * GIB else (MIB, "MiB")


def _weightiest(plan: Sequence[Placement]) -> list[str]:
    """The tables with the largest shares of memory and time: they get a colour of their own, the same one in both figures."""
    memory = sum(sum(item.bytes_per_rank) for item in plan) or 1.0
    time = sum(sum(item.ms_per_rank) for item in plan) or 1.0
    ordered = sorted(plan, key=lambda item: -sum(item.bytes_per_rank) / memory - sum(item.ms_per_rank) / time)
    return [item.table for item in ordered[: len(PALETTE) - 1]]


def _per_rank_figure(name: str, title: str, values: dict[str, tuple[float, ...]], shown: Sequence[str]) -> Figure:
    totals = np.sum(list(values.values()), axis=0)
    scale, unit = _unit(float(totals.max()), name)
    series = with_rest_added_up(
        {table: [value / scale for value in per_rank] for table, per_rank in values.items()}, shown
    )
    figure, axes = new_figure(height=300)
    stacked_bars(axes, [str(rank) for rank in range(len(totals))], series)
    axes.set_xlabel("rank")
    axes.set_ylabel(unit)
    legend_above(axes, columns=4)
    span = f"from {totals.min() / scale:.3g} to {totals.max() / scale:.3g} {unit}"
    return Figure(
        name=f"plan-{name}",
        svg=figure_svg(figure, f"plan-{name}"),
        alt=f"{title} by rank: {span}, most on rank {int(np.argmax(totals))}; the table that weighs most is {shown[0]}.",
        caption=f"{title}, {unit} by rank and table",
        data={
            "rank": list(range(len(totals))),
            "unit": unit,
            "tables": {key: list(item) for key, item in series.items()},
        },
    )


def _heat_figure(plan: Sequence[Placement], num_ranks: int) -> Figure:
    drawn = sorted(plan, key=lambda item: -sum(item.bytes_per_rank))[:MOST_TABLES_DRAWN]
    held = np.array([item.bytes_per_rank for item in drawn])
    scale, unit = _unit(float(held.max()), "memory")
    is_tall = num_ranks <= MOST_RANKS_IN_HALF and len(drawn) > 16
    figure, axes = new_figure(wide=not is_tall, height=max(70 + 17 * len(drawn), 580 if is_tall else 0))
    cells = np.where(held > 0, held / scale, np.nan)
    heat_map(
        axes, cells, rows=[item.table for item in drawn], columns=[str(rank) for rank in range(num_ranks)], unit=unit
    )
    axes.set_xlabel("rank")
    largest = drawn[0]
    which = f"the {len(drawn)} largest of {len(plan)} tables" if len(drawn) < len(plan) else "each table"
    return Figure(
        name="plan-heat",
        svg=figure_svg(figure, "plan-heat"),
        alt=f"Grid of tables and ranks. The largest table, {largest.table}, lies on {_ranks_text(largest.ranks)}.",
        caption=f"Who holds what: {unit} of {which} on each rank (estimated); an empty cell holds nothing of the table",
        wide=not is_tall,
        tall=is_tall,
        data={"tables": [item.table for item in drawn], "unit": unit, "values": cells.tolist()},
    )


def _placement_table(plan: Sequence[Placement]) -> Table:
    columns = [
        Column(title="table"),
        Column(title="rows"),
        Column(title="width"),
        Column(title="sharding type"),
        Column(title="kernel"),
        Column(title="ranks"),
        Column(title="memory, all ranks (MiB)", spec=",.2f"),
        Column(title="time, slowest rank (ms)", spec=".3f"),
    ]
    return Table(
        columns=columns, rows=[_table_row(item) for item in plan], caption="Each table's place (estimated costs)"
    )


def _table_row(item: Placement) -> list[str | int | float]:
    place = [item.table, item.num_embeddings, item.embedding_dim, item.sharding_type, item.compute_kernel]
    return [*place, _ranks_text(item.ranks, short=True), sum(item.bytes_per_rank) / MIB, max(item.ms_per_rank)]


def _ranks_text(ranks: Sequence[int], *, short: bool = False) -> str:
    """Ranks as a reader says them: "0", "0-3", "0, 2, 5"; without `short` with the word in front."""
    if not ranks:
        return "none" if short else "no rank"
    in_a_row = len(ranks) > 2 and ranks[-1] - ranks[0] == len(ranks) - 1
    text = f"{ranks[0]}\N{EN DASH}{ranks[-1]}" if in_a_row else ", ".join(map(str, ranks))
    return text if short else f"rank{'s' if len(ranks) > 1 else ''} {text}"
