"""The prepare job: raw Criteo text in, Parquet parts and a manifest out."""

from data.config import PrepareConfig
from data.manifest import Manifest
from data.prepare import prepare


def run(config: PrepareConfig) -> int:
    """Exit code 0 when `config.output` holds the prepared dataset."""
    print(_summary(prepare(config), config.output))
    return 0


def _summary(manifest: Manifest, directory: str) -> str:
    splits = ", ".join(
        f"{name} {split.num_rows:,} rows ({split.num_positives / max(1, split.num_rows):.1%} clicks)"
        for name, split in manifest.splits.items()
    )
    num_table_rows = sum(feature.num_embeddings for feature in manifest.schema.sparse)
    num_bad = sum(manifest.bad_lines.values())
    return "\n".join(
        [
            f"{directory}: {splits}",
            f"  {len(manifest.schema.dense)} dense columns, {len(manifest.schema.sparse)} tables of {num_table_rows:,} rows in all",
            f"  {manifest.num_lines:,} lines read, {num_bad:,} bad{_kinds(manifest.bad_lines)}; fingerprint {manifest.fingerprint[:12]}",
        ]
    )


def _kinds(bad_lines: dict[str, int]) -> str:
    return f" ({', '.join(f'{count:,} x {kind}' for kind, count in bad_lines.items())})" if bad_lines else ""
