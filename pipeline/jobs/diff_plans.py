"""What differs between two plan files, for a person or for CI."""

import json

from pipeline.plan_job_config import DiffPlansConfig, names
from sharding_plans.comparing.diff import diff_plans
from sharding_plans.comparing.diff_text import diff_text, diff_values
from sharding_plans.comparing.gates import judge, parse_gate
from sharding_plans.files.plan_file import load

SAME, DIFFERENT = 0, 1


def run(config: DiffPlansConfig) -> int:
    """Print the difference; 0 when the plans are the same, 1 when not. With gates: 1 when one of them fires, else 0."""
    gates = [parse_gate(text) for text in names(config.fail_if)]
    diff = diff_plans(load(config.a), load(config.b))
    verdicts = tuple(judge(gate, diff) for gate in gates)
    print(json.dumps(diff_values(diff, verdicts), indent=1) if config.format == "json" else diff_text(diff, verdicts))
    if gates:
        return DIFFERENT if any(verdict.fires for verdict in verdicts) else SAME
    return SAME if diff.is_same else DIFFERENT
