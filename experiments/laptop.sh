#!/usr/bin/env bash
# Does reward conditioning work? The paper's claim with its controls on the synthetic world, on two CPU cores, from nothing.
#   bash experiments/laptop.sh [FOLDER]      (default runs/laptop; the same command goes on where it was stopped)
# One stage 1 without rewards; from it, with the same start, order, steps and seed, each cell on 20,000 triplets:
#   reward     with the noisy annotator's rewards      permuted   the same module, rewards shuffled over the triplets
#   none       without reward                           all_good   without reward, only the triplets annotated 5/5/5 and "None"
#   exact      without reward, on exact edits: what an editor of this size can learn in these steps at all
# The scale of text guidance is chosen for each on validation photographs; then all 560 cases are edited, judged and compared in one report.
# The variables below can be set; experiments/results/laptop.md says with which ones its results were made.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/laptop}
python=${PYTHON:-.venv/bin/python}
stage1_steps=${STAGE1_STEPS:-16000}
cell_steps=${CELL_STEPS:-2500}
triplets=${TRIPLETS:-20000}
rewards=${REWARDS:-runs/rewards}
read -ra scales <<< "${SCALES:-1.0 1.5 2.5}"
read -ra train_more <<< "${TRAIN_MORE:-}"
read -ra evaluate_more <<< "${EVALUATE_MORE:-}"

train() {  # train NAME OVERRIDES...: goes on where it was stopped, and does nothing if it is finished
  local run=$folder/$1
  shift
  if ! grep -qs '"status": "finished"' "$run/run.json"; then
    echo "== training $run"
    "$python" -m src.train "$@" algorithm.compiled=true "${train_more[@]}" hydra.run.dir="$run"
  fi
}

evaluate() {  # evaluate LOG OVERRIDES...
  local log=$1
  shift
  echo "== evaluating $*"
  mkdir -p "$(dirname "$log")"
  "$python" -m src.evaluate "$@" "${evaluate_more[@]}" > "$log"
}

train stage1 +experiment=synthetic_stage1 trainer.max_steps="$stage1_steps"
cell=(+experiment=reward_synthetic start="$folder/stage1/editor" trainer.max_steps="$cell_steps" data.dataset.length="$triplets"
  data.dataset.cache="$rewards")
train reward "${cell[@]}"
train none "${cell[@]}" +control=none
train permuted "${cell[@]}" +control=permuted
train all_good "${cell[@]}" +control=all_good
train exact "${cell[@]}" +control=exact

declare -A guidance
for name in stage1 reward none permuted all_good exact; do
  for scale in "${scales[@]}"; do
    evaluate "$folder/$name/guidance/$scale/log.txt" checkpoint="$folder/$name/editor" benchmark=synthetic_validation \
      sampler.guidance.text="$scale" output="$folder/$name/guidance/$scale"
  done
  guidance[$name]=$("$python" experiments/best_guidance.py "$folder/$name/guidance")
  echo "text guidance of $name: ${guidance[$name]}"
done

report=$folder/report
row() {  # row NAME ROW: the edits of a run at 5/5/5, as a row of the report
  evaluate "$folder/$1/evaluation.txt" checkpoint="$folder/$1/editor" sampler.guidance.text="${guidance[$1]}"
  evaluate "$folder/$1/row.txt" edits="$folder/$1/evaluation/synthetic_edit/5-5-5/edits" row="$2" output="$report"
}
row stage1 "stage 1"
row none "no reward"
row permuted "permuted rewards"
row all_good "only all-5 triplets"
row exact "trained on exact edits"
reward=(checkpoint="$folder/reward/editor" sampler.guidance.text="${guidance[reward]}" output="$report")
evaluate "$report/wordings.txt" "${reward[@]}" benchmark=synthetic_wordings
evaluate "$report/pairs.txt" "${reward[@]}" benchmark=synthetic_pairs
evaluate "$report/report.txt" "${reward[@]}" targets=table6 "gallery=[no reward,0/0/0,5/5/5]"
"$python" experiments/laptop_curves.py "$folder" "$report/curves.png"
cat "$report/report.txt"
