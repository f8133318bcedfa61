"""A plan as a table that a person can read in a terminal."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from torchrec.distributed.planner.types import Shard, ShardingOption

from sharding_plans.planning.planner import Planned

_MIB = 2**20
_RIGHT = {"rows", "dim", "MiB", "ms", "rank", "shards", "HBM MiB", "DDR MiB"}


def plan_table(planned: Planned) -> str:
    """The plan, one line per table and one per rank; memory in MiB over all shards, time in ms of the slowest rank.

    Both are TorchRec's estimates; a rank's time is the sum over its shards, forward and backward, without overlap.
    """
    ranks = "rank" if planned.topology.world_size == 1 else "ranks"
    return "\n".join(
        [
            f"Plan for {planned.topology.world_size} {planned.topology.compute_device} {ranks}, "
            f"{planned.local_batch_size} rows per rank and step "
            f"({planned.num_plans} of {planned.num_proposals} proposals fit; {planned.seconds:.1f} s)",
            "",
            *_aligned(
                ("table", "rows", "dim", "sharding type", "kernel", "ranks", "MiB", "ms"),
                [_table_row(option) for option in planned.options],
            ),
            "",
            *_aligned(("rank", "shards", "HBM MiB", "DDR MiB", "ms"), _rank_rows(planned)),
            "",
            "MiB and ms are estimates of TorchRec's cost model.",
        ]
    )


def _table_row(option: ShardingOption) -> tuple[str, ...]:
    num_rows, dim = option.tensor.shape
    by_rank = _by_rank(option.shards)
    memory = sum(_hbm(shard) + _ddr(shard) for shard in option.shards)
    slowest = max(sum(map(_ms, shards)) for shards in by_rank.values())
    return (
        option.name,
        f"{num_rows:,}",
        str(dim),
        option.sharding_type,
        option.compute_kernel,
        rank_ranges(by_rank),
        f"{memory / _MIB:.1f}",
        f"{slowest:.3f}",
    )


def _rank_rows(planned: Planned) -> list[tuple[str, ...]]:
    by_rank = _by_rank(shard for option in planned.options for shard in option.shards)
    return [
        (
            str(rank),
            str(sum(1 for shard in by_rank[rank] if 0 not in shard.size)),
            f"{sum(map(_hbm, by_rank[rank])) / _MIB:.1f}",
            f"{sum(map(_ddr, by_rank[rank])) / _MIB:.1f}",
            f"{sum(map(_ms, by_rank[rank])):.3f}",
        )
        for rank in range(planned.topology.world_size)
    ]


def rank_ranges(ranks: Iterable[int]) -> str:
    """Ranks in short: "0-3", "0,2", "5"."""
    ranges: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if ranges and rank == ranges[-1][1] + 1:
            ranges[-1][1] = rank
        else:
            ranges.append([rank, rank])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _by_rank(shards: Iterable[Shard]) -> dict[int, list[Shard]]:
    found: dict[int, list[Shard]] = defaultdict(list)
    for shard in shards:
        assert shard.rank is not None, "a chosen option has its ranks"
        found[shard.rank].append(shard)
    return found


def _hbm(shard: Shard) -> int:
    return shard.storage.hbm if shard.storage else 0


def _ddr(shard: Shard) -> int:
    return shard.storage.ddr if shard.storage else 0


def _ms(shard: Shard) -> float:
    return shard.perf.total if shard.perf else 0.0


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return [
        "  ".join(
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in (header, rule, *rows)
    ]
