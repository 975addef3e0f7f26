#!/bin/bash
# One command on all nodes of a Slurm job, on a Ray of its own that ends with it:
#     sbatch --nodes 8 jobs/cluster/slurm.sh extract /shared/photos --conditions sketch color
# Once before: `ray get-auth-token --generate`, in a home that all nodes share. A job that Slurm requeues continues.
#SBATCH --job-name=t2i-shards
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
set -euo pipefail

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Two jobs that Slurm puts on one node one after the other do not meet.
address=$head:$((20000 + SLURM_JOB_ID % 10000))
srun ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    env RAY_ADDRESS="$address" python -m t2i_shards "$@"
