#!/usr/bin/env bash
# Training on several hosts: run this same command on each of them.
#   HEAD=10.0.0.1 docs/cluster/torchrun.sh --config pipeline/configs/demo.yaml --runs_dir <a folder that all hosts see>
# What follows the command are settings of `shardline train`. These say how the hosts meet; all but HEAD have a default:
#   HEAD            address of one of the hosts, where all of them meet
#   NNODES          fewest:most hosts; with 1:2 the run goes on on one when the other does not come back
#   RANKS_PER_HOST  ranks on each host: its number of GPUs, or 1
#   LOCAL_ADDR      this host's own address, where its name does not resolve to one that the others reach; HEAD is an address too
#   PORT, RUN_ID    a free port on HEAD, and a name for the meeting, where several runs share a host
#   RDZV_CONF       more settings of torchrun's rendezvous, such as last_call_timeout=60,keep_alive_interval=5
#   ATTEMPTS        how often torchrun is started in all; PAUSE_S seconds lie between two starts
#   TORCHRUN        torchrun's command, where it is not on PATH
# It ends with 0 once the run is done, 2 after a mistake that the user can mend, and another code where it should go on later.
set -euo pipefail
: "${HEAD:?set HEAD to the address of the host where the others meet}"

meeting=(
  --nnodes "${NNODES:-1:2}"
  --nproc-per-node "${RANKS_PER_HOST:-1}"
  --max-restarts 3
  --rdzv-backend c10d
  --rdzv-id "${RUN_ID:-shardline}"
  --rdzv-endpoint "$HEAD:${PORT:-29400}"
)
conf=${RDZV_CONF:-}
if [[ -n ${LOCAL_ADDR:-} ]]; then
  meeting+=(--local-addr "$LOCAL_ADDR")
  conf+=${conf:+,}is_host=$([[ $LOCAL_ADDR == "$HEAD" ]] && echo 1 || echo 0)
fi
[[ -z $conf ]] || meeting+=(--rdzv-conf "$conf")

# A host that comes back may become rank 0; by default torchrun would go on telling the others the old rank 0's address.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
torchrun=""
stopping=""
trap 'stopping=1; [[ -z $torchrun ]] || kill -TERM "$torchrun" 2>/dev/null || true' TERM INT

# Whether the ranks ended with a message for the user when they were last started: another start would end like it.
was_mistake() {
  local last
  last=$(find "$logs" -name 'attempt_*' -printf '%T@ %p\n' | sort -n | tail -n 1)
  grep -rqs user_mistake "${last#* }"
}

# torchrun starts lost ranks again, but ends itself when it loses the host where all meet, or another while they meet.
attempts=${ATTEMPTS:-20}
for ((attempt = 1; attempt <= attempts; attempt++)); do
  ${TORCHRUN:-torchrun} "${meeting[@]}" --log-dir "$logs" -m pipeline train \
    --resume auto --checkpoint.every_steps 500 --training.timeout_s 300 "$@" &
  torchrun=$!
  # A signal ends `wait` early, while the ranks are still saving.
  while true; do
    if wait "$torchrun"; then code=0; else code=$?; fi
    kill -0 "$torchrun" 2>/dev/null || break
  done
  if [[ $code -eq 0 || -n $stopping ]]; then exit "$code"; fi
  if was_mistake; then exit 2; fi
  echo "torchrun.sh: torchrun ended with code $code (start $attempt of $attempts)" >&2
  sleep "${PAUSE_S:-5}"
done
exit "$code"
