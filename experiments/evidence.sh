#!/usr/bin/env bash
# The paper's Tables 4, 5 and 6 on the synthetic world, with seeds, controls and dossiers, from one command.
#   bash experiments/evidence.sh [FOLDER] [PART...]        (default: runs/evidence, all parts)
#   SEEDS=0 STEPS=200 bash experiments/evidence.sh runs/quick table4 dossiers
# The same command continues where it was stopped. As in the paper: one stage 1 without rewards; every cell is
# trained from it on the same 20,000 noisily annotated triplets. Parts (all but stage1 by default):
#   stage1           a start of its own in FOLDER; otherwise the shipped one, or START=.../editor
#   table4           none, score, text, score + text
#   table5           none, attention, addition, both, time embedding
#   table6           the edits of table4's score + text, asked for 0 to 5
#   controls         permuted, scalar, only all-5 triplets, exact edits
#   never_all_good   the same world without good triplets, with its own stage 1
#   judge_error      scores that err by 0 to 6 points (CURVE_SEEDS)
#   wrong_rewards    0 to 100 % of the rewards taken from other triplets (CURVE_SEEDS)
#   bad_triplets     with and without reward where 50 or 90 % of the triplets are clean (CURVE_SEEDS)
#   exploratory      feedback windows, initialisation, reward dropout (CURVE_SEEDS)
#   reward_guidance  the edits of table4's score + text, guided by 1 to 3
#   dossiers         RESULTS/*.md and figures of what is there (dossier.py, gain_curve.py)
# In the folder of experiments/laptop.sh it continues from its trainings. Cells that several parts share are
# trained once. All rows are edited with the same sampler settings, EVALUATE.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/evidence}
[ $# -gt 0 ] && shift
all="table4 table6 controls table5 never_all_good judge_error wrong_rewards bad_triplets exploratory"
read -ra parts <<< "${*:-$all reward_guidance dossiers}"
python=${PYTHON:-.venv/bin/python}
seeds=${SEEDS:-0,1,2}
curve_seeds=${CURVE_SEEDS:-0}
stage1_steps=${STAGE1_STEPS:-3400}
steps=${STEPS:-750}
results=${RESULTS:-$folder/results}
asked() { [[ " ${parts[*]} " == *" $1 "* ]]; }

start=${START:-experiments/stage1}
if [ -z "${START:-}" ] && { asked stage1 || [ -e "$folder/stage1" ]; }; then start=$folder/stage1/editor; fi
never_start=${NEVER_START:-$folder/stage1_never_all_good/editor}
# overrides of src.evaluate, separated by commas: sampler.guidance.text=1.0,limit=112
evaluate=${EVALUATE:-}
# overrides of every training
read -ra train_more <<< "${TRAIN_MORE:-algorithm.compiled=true}"
# overrides of every sweep: hydra.launcher.jobs=4; hydra.launcher.dry_run=true prints the plans
read -ra sweep_more <<< "${SWEEP_MORE:-}"

evaluate_editor() {  # evaluate_editor EDITOR FOLDER OVERRIDES...: at 5/5/5; existing edits are kept
  local editor=$1 output=$2 overrides
  shift 2
  IFS=, read -ra overrides <<< "$evaluate"
  mkdir -p "$output"
  "$python" -m src.evaluate checkpoint="$editor" output="$output" "${overrides[@]}" "$@" \
    > "$output/evaluation.txt"
}

train_stage1() {  # train_stage1 RUN OVERRIDES...
  local run=$1
  shift
  if ! grep -qs '"status": "finished"' "$run/run.json"; then
    echo "== stage 1 in $run"
    "$python" -m src.train +experiment=synthetic_stage1 trainer.max_steps="$stage1_steps" "${train_more[@]}" \
      "$@" hydra.run.dir="$run"
  fi
  evaluate_editor "$run/editor" "$run" "$@"
}

sweep() {  # sweep NAME START SEEDS EVALUATION OVERRIDES...: into FOLDER/NAME
  local name=$1 begin=$2 repeated=$3 evaluation=$4
  shift 4
  echo "== $name"
  evaluation=$(sed 's/[^,][^,]*/"&"/g' <<< "$evaluation")
  "$python" -m src.train +experiment=reward_synthetic start="$begin" trainer.max_steps="$steps" \
    seed="$repeated" "${train_more[@]}" hydra.sweep.dir="$folder/$name" \
    "hydra.launcher.evaluate=[$evaluation]" "${sweep_more[@]}" "$@"
}

runs_with() {  # runs_with NAME OVERRIDE: the run folders of a sweep's trained jobs with this override
  "$python" -m experiments.sweep_runs "$folder/$1" "$2"
}

if asked stage1 && [ -z "${START:-}" ]; then train_stage1 "$folder/stage1"; fi
if asked table4 || asked table5; then evaluate_editor "$start" "$folder/start"; fi  # the row "starting weights"
if asked table4; then sweep table4 "$start" "$seeds" "$evaluate" +sweep=table4_reward_signal; fi
if asked table6 && [ -e "$folder/table4/sweep.json" ]; then
  IFS=, read -ra how <<< "$evaluate"
  runs=$(runs_with table4 model/reward_encoder=score_text)
  for run in $runs; do
    echo "== table6 of $run"
    "$python" -m src.evaluate checkpoint="$run/editor" "${how[@]}" +sweep=table6_inference_score \
      hydra.sweep.dir="$folder/table6/$(basename "$run")"
  done
fi
if asked controls; then sweep controls "$start" "$seeds" "$evaluate" +sweep=controls; fi
if asked table5; then sweep table5 "$start" "$seeds" "$evaluate" +sweep=table5_integration; fi
if asked never_all_good; then
  if [ -z "${NEVER_START:-}" ]; then train_stage1 "$folder/stage1_never_all_good" world=never_all_good; fi
  sweep never_all_good "$never_start" "$seeds" "world=never_all_good${evaluate:+,$evaluate}" \
    world=never_all_good +sweep=controls_never_all_good
fi
if asked judge_error; then
  sweep judge_error "$start" "$curve_seeds" "$evaluate" model/reward_encoder=score +sweep=judge_error
fi
if asked wrong_rewards; then sweep wrong_rewards "$start" "$curve_seeds" "$evaluate" +sweep=wrong_rewards; fi
if asked bad_triplets; then sweep bad_triplets "$start" "$curve_seeds" "$evaluate" +sweep=bad_triplets; fi
if asked exploratory; then
  for name in feedback_windows initialisation reward_dropout; do
    sweep "$name" "$start" "$curve_seeds" "$evaluate" +sweep="$name"
  done
fi
if asked reward_guidance && [ -e "$folder/table4/sweep.json" ]; then
  IFS=, read -ra how <<< "$evaluate"
  runs=$(runs_with table4 model/reward_encoder=score_text)
  for run in $runs; do
    for scale in 1.0 1.5 2.0 3.0; do
      edits=$folder/reward_guidance/$(basename "$run")-$scale
      echo "== reward guidance $scale of $run"
      mkdir -p "$edits"
      cp -r "$run/.hydra" "$edits/"  # so that tables know whose edits these are
      "$python" -m src.evaluate checkpoint="$run/editor" "${how[@]}" sampler.guidance.reward="$scale" \
        output="$edits" > "$edits/evaluation.txt"
    done
  done
fi

if asked dossiers; then
  is_evaluated() { compgen -G "$folder/$1/*/evaluation" > /dev/null; }
  control_runs=() controls=()
  if is_evaluated controls; then
    control_runs=("$folder/controls")
    controls=(--controls "${control_runs[@]}")
  fi
  if [ -e "$folder/start/evaluation" ]; then controls+=(--start "$folder/start"); fi
  for name in table4_reward_signal table5_integration; do
    short=${name%%_*}
    if is_evaluated "$short"; then
      "$python" -m experiments.dossier "$name" "$folder/$short" "${controls[@]}" -o "$results/$short.md"
    fi
  done
  if is_evaluated table4 && compgen -G "$folder/table6/*" > /dev/null; then
    "$python" -m experiments.dossier table6_inference_score "$folder/table4" "${controls[@]}" \
      -o "$results/table6.md"
  fi
  if is_evaluated never_all_good; then
    "$python" -m experiments.dossier never_all_good "$folder/never_all_good" -o "$results/never_all_good.md"
  fi
  if is_evaluated judge_error; then
    "$python" -m experiments.gain_curve annotator.score_deviation "$folder/judge_error" \
      --encoder score --none "$folder/table4" \
      -x "the standard deviation of the annotator's scores, in points" -o "$results/judge_error.md"
  fi
  plain=(--none "$folder/table4" --encoder score+text)
  if is_evaluated initialisation; then
    "$python" -m experiments.gain_curve model.integration.parts.attention.init "$folder/initialisation" \
      "${plain[@]}" -x "how the last layers of attention and addition start" -o "$results/initialisation.md"
  fi
  if is_evaluated feedback_windows; then
    "$python" -m experiments.gain_curve model.reward_encoder.windows "$folder/feedback_windows" \
      "${plain[@]}" -x "how three feedbacks are read" -o "$results/feedback_windows.md"
  fi
  if is_evaluated reward_dropout; then
    "$python" -m experiments.gain_curve model.reward_encoder.dropout "$folder/reward_dropout" "${plain[@]}" \
      -x "how often a reward is withheld in training" -o "$results/reward_dropout.md"
  fi
  if is_evaluated reward_guidance; then
    "$python" -m experiments.gain_curve sampler.guidance.reward "$folder/reward_guidance" "${plain[@]}" \
      -x "the scale of reward guidance, away from 0/0/0" -o "$results/reward_guidance.md"
  fi
  if is_evaluated wrong_rewards; then
    "$python" -m experiments.gain_curve data.control.share "$folder/wrong_rewards" "$folder/table4" \
      "${control_runs[@]}" --encoder score+text --default 0 --none "$folder/table4" \
      -x "the share of rewards that belong to another triplet" -o "$results/wrong_rewards.md"
  fi
  if is_evaluated bad_triplets; then
    "$python" -m experiments.gain_curve data.control.clean_share "$folder/bad_triplets" "$folder/table4" \
      --encoder score+text --default 0 --none "$folder/bad_triplets" "$folder/table4" --each \
      -x "the share of clean triplets" -o "$results/bad_triplets.md"
  fi
fi
