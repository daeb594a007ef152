#!/usr/bin/env bash
# Does reward conditioning work? The paper's claim with its controls on the synthetic world, on two CPU cores,
# from nothing, in less than two hours on cores with AVX2 only; with AVX512-BF16 in about one (estimated).
#   bash experiments/laptop.sh [FOLDER]        (default: runs/laptop)
# The same command continues where it was stopped.
# One stage 1 without rewards. From it, with the same start, order, steps and seed, each cell of the sweep
# `controls` on 20,000 triplets, two at a time:
#   rewarded   with the noisy annotator's rewards
#   permuted   the same modules, rewards shuffled over the triplets
#   none       without reward
#   all_good   without reward, only the triplets annotated 5/5/5 and "None"
#   scalar     one number instead of three scores
#   exact      without reward, on exact edits: what an editor of this size can learn at all
# The scale of text guidance is chosen for each on validation photographs; then all 560 cases are edited,
# judged and compared in one report. experiments/evidence.sh FOLDER trains these, and continues with more
# seeds and the paper's tables. The variables below can be set, and those of evidence.sh;
# experiments/results/laptop.md says which ones its results were made with.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/laptop}
python=${PYTHON:-.venv/bin/python}
read -ra scales <<< "${SCALES:-1.0 1.5}"
read -ra evaluate_more <<< "${EVALUATE_MORE:-}"

export SEEDS=0 SWEEP_MORE="${SWEEP_MORE:-hydra.launcher.jobs=2}"
bash experiments/evidence.sh "$folder" stage1 controls

declare -A run=([stage1]=$folder/stage1)
declare -A title=([stage1]="stage 1" [none]="no reward" [permuted]="permuted rewards"
  [scalar]="one scalar reward" [all_good]="only all-5 triplets" [exact]="trained on exact edits"
  [rewarded]="rewards, asked for 5/5/5")
for control in none rewarded permuted scalar all_good exact; do
  runs=$("$python" -m experiments.sweep_runs "$folder/controls" "+control=$control")
  run[$control]=${runs%%$'\n'*}
done

evaluate() {  # evaluate LOG OVERRIDES...
  local log=$1
  shift
  echo "== evaluating $*"
  mkdir -p "$(dirname "$log")"
  "$python" -m src.evaluate "$@" "${evaluate_more[@]}" > "$log"
}

declare -A guidance
for name in "${!run[@]}"; do
  for scale in "${scales[@]}"; do
    evaluate "$folder/guidance/$name/$scale/log.txt" checkpoint="${run[$name]}/editor" \
      benchmark=synthetic_validation sampler.guidance.text="$scale" output="$folder/guidance/$name/$scale"
  done
  guidance[$name]=$("$python" experiments/best_guidance.py "$folder/guidance/$name")
  echo "text guidance of $name: ${guidance[$name]}"
done

report=$folder/report
for name in stage1 none permuted scalar all_good exact; do
  edits=$folder/guided/$name
  evaluate "$edits/log.txt" checkpoint="${run[$name]}/editor" sampler.guidance.text="${guidance[$name]}" \
    output="$edits"
  evaluate "$edits/row.txt" edits="$edits/evaluation/synthetic_edit/5-5-5/edits" row="${title[$name]}" \
    output="$report"
done
rewarded=(checkpoint="${run[rewarded]}/editor" sampler.guidance.text="${guidance[rewarded]}" output="$report")
evaluate "$report/wordings.txt" "${rewarded[@]}" benchmark=synthetic_wordings
evaluate "$report/pairs.txt" "${rewarded[@]}" benchmark=synthetic_pairs
evaluate "$report/report.txt" "${rewarded[@]}" targets=table6 "gallery=[no reward,0/0/0,5/5/5]"
curves=()
for name in rewarded none permuted scalar all_good exact; do curves+=("${title[$name]}=${run[$name]}"); done
"$python" experiments/laptop_curves.py "$report/curves.png" "${run[stage1]}" "${curves[@]}"
cat "$report/report.txt"
