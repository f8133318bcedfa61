"""Quantization: a checkpoint to a bundle in fewer bits, of types given or searched for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.errors import ConfigError
from data.reading.stored_split import StoredSplit
from pipeline.inference.bundle import (
    bundle_aside,
    check_free,
    open_bundle,
    write_parts,
    write_programs,
    write_signature,
)
from pipeline.inference.model_parts import ModelParts
from pipeline.inference.opened import open_model
from pipeline.inference.quality import check_one_target
from pipeline.inference.quantizing import check_not_quantized, kinds_of, quantized, search
from pipeline.inference.scoring import scorer_of_parts
from pipeline.inference.self_check import Checked, check_bundle, scored_by_parts
from pipeline.inference.tables import float_tables
from pipeline.inference.work import stored_rows
from pipeline.inference_config import QuantizeConfig
from pipeline.jobs.export import description


def run(config: QuantizeConfig) -> int:
    """Choose the types, write the bundle, and say what it came to."""
    output = Path(config.output)
    check_free(output, force=config.force)
    model = open_model(Path(config.model), config.data_path)
    check_not_quantized(model.parts)
    data_path = model.prepared(config.data_path)
    kinds, searched = _kinds(config, model.parts, data_path)
    narrow = quantized(model.parts, kinds, config.dense)
    checked = scored_by_parts(narrow, data_path, config.check_rows)
    change = _change(checked, model.parts)
    origin = {**narrow.origin, "quantized_from": model.fingerprint, "against_float32": change, **searched}
    narrow = replace(narrow, origin=origin)
    with bundle_aside(output) as aside:
        write_parts(narrow, aside)
        formats = write_programs(narrow, config.formats, checked.example(narrow), aside)
        write_signature(narrow, aside, formats, check_bundle(aside, formats, checked))
    print(_description(output, model.parts, kinds, config.dense, change))
    return 0


def _kinds(config: QuantizeConfig, parts: ModelParts, data_path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    tables = list(float_tables(parts.weights))
    if config.tables != "search":
        return kinds_of(tables, config.tables, config.table_types), {}
    check_one_target(parts.schema, "quantize --tables search")
    kinds_of(tables, "fp32", config.table_types)  # a pattern that matches nothing is told before the search
    rows = _first_rows(data_path, config.search_split, config.search_rows)
    found = search(parts, rows, config.max_auc_loss, config.dense, config.table_types)
    print(
        f"searched     {found.num_trials} trials on {rows.num_rows:,} rows of {config.search_split}: AUC"
        f" {found.auc:.6f} {found.difference.value:+.6f} [{found.difference.low:+.6f}, {found.difference.high:+.6f}]"
    )
    told = {"split": config.search_split, "rows": rows.num_rows, "trials": found.num_trials, "auc": found.auc}
    ends = {"difference": found.difference.value, "low": found.difference.low, "high": found.difference.high}
    return found.kinds, {"search": {**told, **ends, "max_auc_loss": config.max_auc_loss}}


def _first_rows(data_path: Path, split: str, num_rows: int) -> pa.Table:
    stored = StoredSplit(data_path, split)
    if not stored.num_rows:
        raise ConfigError(f"{data_path} has no rows in {split} to search on; choose another --search_split.")
    return stored_rows(stored, range(min(num_rows, stored.num_rows)))


def _change(checked: Checked, parts: ModelParts) -> dict[str, float]:
    """How far the quantized scores are from float32."""
    moved = np.abs(checked.scores - scorer_of_parts(parts).score_table(checked.table))
    return {"largest": float(moved.max()), "mean": float(moved.mean())}


def _description(output: Path, parts: ModelParts, kinds: dict[str, str], dense: str, change: dict[str, float]) -> str:
    bundle = open_bundle(output)
    before = sum(weight.numel() * weight.element_size() for weight in parts.weights.values())
    by_kind = {kind: [name for name in kinds if kinds[name] == kind] for kind in dict.fromkeys(kinds.values())}
    lines = [description(bundle), f"dense        {dense}"]
    lines += [f"{kind:<12} {len(names)} tables: {', '.join(names)}" for kind, names in by_kind.items()]
    lines.append(f"size         {bundle.num_bytes / before:.1%} of {before / 2**20:,.2f} MiB in float32")
    lines.append(f"scores       moved by {change['mean']:.2g} on average, {change['largest']:.2g} at most")
    return "\n".join(lines)
