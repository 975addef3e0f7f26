#!/bin/sh
# Train a T2I-Adapter on SDXL with diffusers' own script, unchanged, on a dataset's shards.
#
#     sh examples/diffusers_script.sh data/photos sketch train_t2i_adapter_sdxl.py --output_dir runs/sketch-xl \
#         --pretrained_model_name_or_path stabilityai/stable-diffusion-xl-base-1.0 --resolution 512
#
# The script is examples/t2i_adapter/train_t2i_adapter_sdxl.py of diffusers' repository. What comes after its path are
# options of its own; --resolution should be the --size of `ingest`, else it resizes the control images too.
# It reads a publication by `datasets`: `publish` makes that one first, and does nothing where it is made already.
# Any condition but color, whose cells the script would blur. Its adapters have three channels, whatever the condition.
set -eu
root=${1%/} condition=$2 script=$3
shift 3
t2i-shards publish "$root" --to "$root-published" --columns "$condition"
exec accelerate launch "$script" --train_data_dir "$root-published" \
    --image_column jpg --conditioning_image_column "$condition.png" --caption_column txt "$@"
