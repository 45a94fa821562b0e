#!/usr/bin/env bash
# Train with several processes, one per GPU, or on a machine without GPUs sharing its cores:
#     tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
# Several machines: run it on each with NNODES= NODE_RANK= MASTER_ADDR= (and PORT=) set.
set -euo pipefail
if [[ $# -lt 2 ]]; then
    echo "usage: $0 CONFIG PROCESSES [arguments of tools/train.py]" >&2
    exit 2
fi
config=$1 processes=$2
shift 2
threads=$(($(nproc) / processes))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}

exec python -m torch.distributed.run \
    --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${PORT:-29500}" \
    --nproc-per-node "$processes" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
