#!/usr/bin/env bash
# Does reward conditioning work? The paper's claim with its controls on the synthetic world, on two CPU cores, from nothing.
#   bash experiments/laptop.sh [FOLDER]      (default runs/laptop; the same command goes on where it was stopped)
# One stage 1 without rewards; from it, with the same triplets, order, steps and seed, each cell of 20,000 triplets:
#   reward     rewards of the noisy annotator         permuted   the same module, rewards shuffled over the triplets
#   none       no reward                               all_good   only the triplets annotated 5/5/5 and "None", no reward
# Text guidance is chosen for each cell on validation photographs; then all 560 cases are edited, judged and compared in one report.
# STAGE1_STEPS, CELL_STEPS and PYTHON can be set; the results in experiments/results/laptop.md are those of the defaults.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/laptop}
python=${PYTHON:-.venv/bin/python}
stage1_steps=${STAGE1_STEPS:-12000}
cell_steps=${CELL_STEPS:-2500}
scales=${SCALES:-"1.0 1.5 2.0 3.0"}

train() {  # train NAME OVERRIDES...: nothing if it is finished
  local run=$folder/$1
  shift
  if ! grep -qs '"status": "finished"' "$run/run.json"; then
    "$python" -m src.train "$@" hydra.run.dir="$run"
  fi
}

train stage1 +experiment=synthetic_stage1 trainer.max_steps="$stage1_steps"
cell=(+experiment=reward_synthetic start="$folder/stage1/editor" trainer.max_steps="$cell_steps")
train reward "${cell[@]}"
train none "${cell[@]}" model/integration=none
train permuted "${cell[@]}" data=permuted data.dataset.dataset.cache=runs/rewards '~data.dataset.length' '~data.dataset.cache'
train all_good "${cell[@]}" data=all_good model/integration=none data.dataset.dataset.cache=runs/rewards '~data.dataset.length' '~data.dataset.cache'

guidance() {  # guidance RUN: the scale of text guidance with the best validation scores
  local run=$folder/$1 scale
  for scale in $scales; do
    "$python" -m src.evaluate checkpoint="$run/editor" benchmark=synthetic_validation sampler.guidance.text="$scale" \
      output="$run/guidance/$scale" > "$run/guidance-$scale.txt"
  done
  "$python" experiments/best_guidance.py "$run/guidance"
}

report=$folder/report
edits() {  # edits RUN ROW TARGETS...: the 560 edits of a run, as rows of one report
  local run=$folder/$1 row=$2
  shift 2
  "$python" -m src.evaluate checkpoint="$run/editor" sampler.guidance.text="$(guidance "$(basename "$run")")" "$@" > "$run/evaluation.txt"
  if [ -n "$row" ]; then
    "$python" -m src.evaluate edits="$run/evaluation/synthetic_edit/5-5-5/edits" row="$row" output="$report" > "$run/row.txt"
  fi
}

edits stage1 "stage 1"
edits none "no reward"
edits permuted "permuted rewards"
edits all_good "only all-5 triplets"
"$python" -m src.evaluate checkpoint="$folder/reward/editor" sampler.guidance.text="$(guidance reward)" targets=table6 output="$report" \
  gallery='[no reward,0/0/0,5/5/5]'
for benchmark in synthetic_wordings synthetic_pairs; do
  "$python" -m src.evaluate checkpoint="$folder/reward/editor" sampler.guidance.text="$(guidance reward)" benchmark="$benchmark" output="$report"
done
"$python" experiments/laptop_curves.py "$folder" "$report/curves.png"
