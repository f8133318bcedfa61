"""The difference of two plans as text for the terminal and as JSON values. Light: no torch here."""

from typing import Any

from sharding_plans.comparing.diff import PlanDiff, RankDelta, TableDiff
from sharding_plans.comparing.gates import SUMMARY_METRICS, Verdict
from sharding_plans.files.layout import TablePlan

GIB = 2**30
MOST_TABLES, MOST_RANKS = 60, 16
_SHOWN = ("step_ms", "samples_per_s", "peak_hbm_gib", "peak_ddr_gib", "imbalance", "sent_mib")


def diff_text(diff: PlanDiff, verdicts: tuple[Verdict, ...] = ()) -> str:
    """What differs, for a person: figures, tables, ranks, bytes to move, gates."""
    if diff.is_same and not diff.settings and not diff.tables:
        lines = ["The plans are the same: same tables, same layout."]
    else:
        lines = [
            *_setting_lines(diff),
            *_figure_lines(diff),
            *_table_lines(diff),
            *_rank_lines(diff),
            *_move_lines(diff),
        ]
    lines += [f"gate {'FIRES' if one.fires else 'holds'}: {one.gate.text} ({one.value:+.4g})" for one in verdicts]
    return "\n".join(lines)


def diff_values(diff: PlanDiff, verdicts: tuple[Verdict, ...] = ()) -> dict[str, Any]:
    """The difference for programs, under stable keys."""
    return {
        "same": diff.is_same,
        "settings": {name: {"a": a, "b": b} for name, a, b in diff.settings},
        "figures": {key: {"a": getattr(diff.a, key), "b": getattr(diff.b, key)} for key in SUMMARY_METRICS},
        "tables": [
            {
                "name": one.name,
                "changed": list(one.changed),
                "moved_bytes": one.moved_bytes,
                "a": _side(one.a),
                "b": _side(one.b),
            }
            for one in diff.tables
        ],
        "ranks": [vars(rank) for rank in diff.ranks],
        "moved_bytes": diff.moved_bytes,
        "moved_back_bytes": diff.moved_back_bytes,
        "gates": [{"gate": one.gate.text, "value": one.value, "fires": one.fires} for one in verdicts],
    }


def _side(table: TablePlan | None) -> dict[str, Any] | None:
    if table is None:
        return None
    return {"sharding_type": table.sharding_type, "compute_kernel": table.compute_kernel, "ranks": table.where}


def _setting_lines(diff: PlanDiff) -> list[str]:
    return [f"{name}: {a} -> {b}" for name, a, b in diff.settings] + ([""] if diff.settings else [])


def _figure_lines(diff: PlanDiff) -> list[str]:
    lines = []
    for key in _SHOWN:
        a, b = float(getattr(diff.a, key)), float(getattr(diff.b, key))
        if a or b:
            change = f" ({b / a - 1:+.1%})" if a else ""
            lines.append(f"{key:<14} {a:>14,.4g} -> {b:>14,.4g}{change}")
    return [*lines, ""]


def _table_lines(diff: PlanDiff) -> list[str]:
    if not diff.tables:
        return ["No table differs."]
    lines = [f"{len(diff.tables)} table{'s' if len(diff.tables) > 1 else ''} differ:"]
    ordered = sorted(diff.tables, key=lambda table: -table.moved_bytes)
    lines += [_table_line(table) for table in ordered[:MOST_TABLES]]
    return lines + ([f"  ... and {len(ordered) - MOST_TABLES} more"] if len(ordered) > MOST_TABLES else [])


def _table_line(table: TableDiff) -> str:
    moved = f", {table.moved_bytes / GIB:.3f} GiB to move" if table.moved_bytes else ""
    return f"  {table.name}: {_placed(table.a)} -> {_placed(table.b)} ({', '.join(table.changed)}{moved})"


def _placed(table: TablePlan | None) -> str:
    if table is None:
        return "not there"
    usual = table.compute_kernel in ("fused", "dense")
    kernel = "" if usual else f" {table.compute_kernel}"
    return f"{table.sharding_type}{kernel} on {table.where}"


def _rank_lines(diff: PlanDiff) -> list[str]:
    changed = [rank for rank in diff.ranks if rank.hbm_bytes or rank.ddr_bytes or abs(rank.step_ms) > 1e-9]
    if not changed:
        return []
    ordered = sorted(changed, key=lambda rank: -abs(rank.step_ms))[:MOST_RANKS]
    left = len(changed) - len(ordered)
    lines = ["", "per rank (B less A):", *[_rank_line(rank) for rank in sorted(ordered, key=lambda rank: rank.rank)]]
    return lines + ([f"  ... and {left} more ranks that change less"] if left else [])


def _rank_line(rank: RankDelta) -> str:
    return f"  rank {rank.rank}: {rank.step_ms:+.3f} ms, HBM {rank.hbm_bytes / GIB:+.3f} GiB, DDR {rank.ddr_bytes / GIB:+.3f} GiB"


def _move_lines(diff: PlanDiff) -> list[str]:
    if not diff.tables:
        return []
    there, back = diff.moved_bytes / GIB, diff.moved_back_bytes / GIB
    return [
        "",
        f"To go from A to B, ranks fetch {there:.3f} GiB of weights and optimizer state ({back:.3f} GiB to go back).",
    ]
