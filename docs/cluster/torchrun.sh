#!/usr/bin/env bash
# Training on two hosts: run this same command on both. HEAD is the address of one of them, reachable from the other.
#   HEAD=10.0.0.1 docs/cluster/torchrun.sh --config pipeline/configs/demo.yaml --runs_dir /shared/runs
# With NNODES=1:2 the job goes on alone when the other host does not come back (HEAD's host must stay).
set -euo pipefail
: "${HEAD:?set HEAD to the address of the first host}"
NNODES=${NNODES:-1:2}
RANKS_PER_HOST=${RANKS_PER_HOST:-1}

exec torchrun \
  --nnodes "$NNODES" \
  --nproc-per-node "$RANKS_PER_HOST" \
  --max-restarts 10 \
  --rdzv-id shardline \
  --rdzv-backend c10d \
  --rdzv-endpoint "$HEAD:${PORT:-29400}" \
  -m pipeline train --resume auto --checkpoint.every_steps 500 --training.timeout_s 300 "$@"
