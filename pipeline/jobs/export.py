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
from pipeline.inference.opened import OpenedModel, open_model
from pipeline.inference.self_check import Checked, check_bundle, scored_by_checkpoint, scored_by_parts
from pipeline.inference_config import ExportConfig
from pipeline.ranks import joined_ranks


def run(config: ExportConfig) -> int:
    """Write the bundle and say what is in it; 0 when its self-check has passed."""
    output = Path(config.output)
    check_free(output, force=config.force)
    model = open_model(Path(config.model), config.data_path)
    checked = _checked(model, config)
    parts = model.parts
    with bundle_aside(output) as aside:
        write_parts(parts, aside)
        formats = write_programs(parts, config.formats, checked.example(parts), aside)
        write_signature(parts, aside, formats, check_bundle(aside, formats, checked))
    print(description(open_bundle(output)))
    return 0


def _checked(model: OpenedModel, config: ExportConfig) -> Checked:
    """Rows with the scores that the new bundle must have: those of the sharded checkpoint, or of the bundle given."""
    if model.trained is None:
        return scored_by_parts(model.parts, model.prepared(config.data_path), config.check_rows)
    with joined_ranks("cpu") as ranks:
        return scored_by_checkpoint(model.trained, config.check_rows, ranks)


def description(bundle: Bundle) -> str:
    """What is in a bundle, in aligned lines."""
    check = bundle.signature["self_check"]
    lines = [f"bundle       {bundle.directory}", f"weights      {bundle.num_bytes / 2**20:,.2f} MiB"]
    for kind, reason in bundle.formats.items():
        lines.append(f"{kind:<12} {'not supported: ' + reason if reason else 'in it'}")
    differences = ", ".join(f"{kind} {value:.2g}" for kind, value in check["largest_differences"].items())
    lines.append(f"self-check   {check['rows']:,} rows of {check['split']}, largest difference: {differences}")
    return "\n".join(lines)
