"""The inspect job: a sample of a table in, a proposed feature spec out."""

from pathlib import Path

from data.aside import written_aside
from data.inspecting.propose import propose_spec
from data.inspecting.sample import take_sample
from data.spec.inspect_config import InspectConfig


def run(config: InspectConfig) -> int:
    """Exit code 0 when a spec was proposed."""
    proposed = propose_spec(take_sample(config.source, config.num_rows), config.label)
    if not config.out:
        print(proposed, end="")
        return 0
    with written_aside(Path(config.out)) as partial:
        partial.write_text(proposed)
    print(f"wrote {config.out}: check it, then: shardline prepare --spec {config.out} --source {config.source}")
    return 0
