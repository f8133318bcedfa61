"""The prepare job: raw Criteo text in, Parquet parts and a manifest out."""

from data.config import PrepareConfig
from data.manifest import Manifest
from data.preparing.prepare import prepare


def run(config: PrepareConfig) -> int:
    """Exit code 0 when `config.output` holds the prepared dataset."""
    print(_summary(prepare(config), config.output))
    return 0


def _summary(manifest: Manifest, directory: str) -> str:
    splits = ", ".join(
        f"{name} {split.num_rows:,} rows ({split.num_positives / max(1, split.num_rows):.1%} clicks)"
        for name, split in manifest.splits.items()
    )
    sparse, dense = manifest.schema.sparse, manifest.schema.dense
    tables = f"{len(dense)} dense columns, {len(sparse)} tables of {sum(table.num_embeddings for table in sparse):,} rows in all"
    bad = f"{sum(manifest.bad_lines.values()):,} bad{_kinds(manifest.bad_lines)}"
    if manifest.negative_sampling_rate < 1:
        bad += f", {manifest.num_left_out:,} negatives left out (rate {manifest.negative_sampling_rate:g})"
    lines = f"{manifest.num_lines:,} lines read, {bad}; fingerprint {manifest.fingerprint[:12]}"
    return f"{directory}: {splits}\n  {tables}\n  {lines}"


def _kinds(bad_lines: dict[str, int]) -> str:
    return f" ({', '.join(f'{count:,} x {kind}' for kind, count in bad_lines.items())})" if bad_lines else ""
