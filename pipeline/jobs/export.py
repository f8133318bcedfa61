"""Export: a checkpoint and the transforms of its data to one bundle, checked before it takes its place."""

from pathlib import Path

from pipeline.inference.bundle import (
    Bundle,
    bundle_aside,
    check_free,
    open_bundle,
    write_parts,
    write_programs,
    write_signature,
)
from pipeline.inference.model_parts import parts_of_checkpoint, read_trained
from pipeline.inference.self_check import check_bundle, scored_by_checkpoint
from pipeline.inference_config import ExportConfig
from pipeline.ranks import joined_ranks


def run(config: ExportConfig) -> int:
    """Write the bundle and say what is in it; 0 when its self-check has passed."""
    output = Path(config.output)
    check_free(output, force=config.force)
    trained = read_trained(Path(config.model), config.data_path)
    parts = parts_of_checkpoint(trained)
    with joined_ranks("cpu") as ranks:
        checked = scored_by_checkpoint(trained, config.check_rows, ranks)
    with bundle_aside(output) as aside:
        write_parts(parts, aside)
        formats = write_programs(parts, config.formats, checked.example(parts), aside)
        write_signature(parts, aside, formats, check_bundle(aside, formats, checked))
    print(description(open_bundle(output)))
    return 0


def description(bundle: Bundle) -> str:
    """What is in a bundle, in aligned lines."""
    check = bundle.signature["self_check"]
    lines = [f"bundle       {bundle.directory}", f"weights      {bundle.num_bytes / 2**20:,.2f} MiB"]
    for kind, reason in bundle.formats.items():
        lines.append(f"{kind:<12} {'not supported: ' + reason if reason else 'in it'}")
    differences = ", ".join(f"{kind} {value:.2g}" for kind, value in check["largest_differences"].items())
    lines.append(f"self-check   {check['rows']:,} rows of {check['split']}, largest difference: {differences}")
    return "\n".join(lines)
