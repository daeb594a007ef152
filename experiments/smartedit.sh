#!/usr/bin/env bash
# A small SmartEdit on the synthetic world: its second stage from a U-Net that can draw, then the reward
# stage with and without reward. Both rows have the same start, triplets, order, steps and seed.
#   bash experiments/smartedit.sh STAGE_1/editor [FOLDER]
# STAGE_1 is a run of +experiment=synthetic_unet_stage1; FOLDER is runs/smartedit by default.
# 75 minutes on one core with AVX512-BF16, 2 h 15 with AVX2 only. The same command continues where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
start=${1:?the editor/ of a synthetic_unet_stage1}
folder=${2:-runs/smartedit}
python=${PYTHON:-.venv/bin/python}
stage2_steps=${STAGE2_STEPS:-2500}
cell_steps=${CELL_STEPS:-1500}
cases=(limit="${CASES:-null}")   # CASES=8 with a few steps: a quick check that everything runs

"$python" -m src.train +experiment=synthetic_smartedit start="$start" trainer.max_steps="$stage2_steps" \
  hydra.run.dir="$folder/stage2"
reader=$folder/stage2/editor
for cell in both none; do
  "$python" -m src.train +experiment=reward_synthetic_smartedit start="$reader" \
    model.backbone.reader.weights="$reader" model/integration="$cell" trainer.max_steps="$cell_steps" \
      hydra.run.dir="$folder/$cell"
done
"$python" -m src.evaluate "${cases[@]}" checkpoint="$folder/none/editor"
"$python" -m src.evaluate "${cases[@]}" checkpoint="$folder/both/editor" output="$folder/report" \
  targets=table6
"$python" -m src.evaluate "${cases[@]}" edits="$folder/none/evaluation/synthetic_edit/5-5-5/edits" \
  row="no reward" output="$folder/report"
"$python" -m src.evaluate "${cases[@]}" checkpoint="$folder/stage2/editor"
"$python" -m src.evaluate "${cases[@]}" edits="$folder/stage2/evaluation/synthetic_edit/5-5-5/edits" \
  row="stage 2" output="$folder/report"
