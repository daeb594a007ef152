#!/usr/bin/env bash
# EditReward's claim in small: is an editor better for training on the rows that a reward model prefers?
#   bash experiments/retraining.sh REWARD_MODEL [FOLDER]      (default: runs/retraining)
# REWARD_MODEL is reward_model/ of a run of python -m src.train_reward_model. The same command continues where
# it was stopped. All rows begin at the shipped stage 1 and see as many samples; the triplets are
#   all        20,000, without reward
#   top        the 40 % that the reward model scores best, without reward
#   random     as many of each edit type, drawn whatever their scores, without reward
#   exact_top  the 40 % that the exact judge scores best: the most that choosing can be worth
#   all        with the annotator's rewards, asked for 5/5/5: what conditioning makes of the rows that top loses
#   exact      all 20,000, mended: the most that an editor of this size learns in these steps
# Trained in the order of the seeds, so that a stopped experiment has whole seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:?reward_model/ of a run of src.train_reward_model}
folder=${2:-runs/retraining}
python=${PYTHON:-.venv/bin/python}
seeds=${SEEDS:-0,1,2}
steps=${STEPS:-500}
length=${LENGTH:-20000}
share=${SHARE:-0.4}
start=${START:-experiments/stage1}
evaluate=${EVALUATE:-sampler.steps=10,sampler.shift=3}
# further overrides of every training, and of every sweep
read -ra train_more <<< "${TRAIN_MORE:-algorithm.compiled=true}"
read -ra sweep_more <<< "${SWEEP_MORE:-}"
triplets=(data=synthetic "data.dataset.length=$length")

judge() {  # judge NAME OVERRIDES...: rewards of all triplets
  local name=$1
  shift
  "$python" -m src.annotate "${triplets[@]}" "$@" output="$folder/judged/$name"
}

curate() {  # curate NAME JUDGE OVERRIDES...
  local name=$1 judged=$2
  shift 2
  if [ ! -e "$folder/$name/curation.json" ]; then
    "$python" -m src.curate annotations="$folder/judged/$judged" "${triplets[@]}" "$@" output="$folder/$name"
  fi
}

train() {  # train NAME OVERRIDES...
  local name=$1
  shift
  "$python" -m src.train -m +experiment=reward_synthetic start="$start" trainer.max_steps="$steps" \
    data.dataset.length="$length" seed="$seeds" "${train_more[@]}" hydra.sweep.dir="$folder/$name" \
    "hydra.launcher.evaluate=[$(sed 's/[^,][^,]*/"&"/g' <<< "$evaluate")]" "${sweep_more[@]}" "$@"
}

judge reward_model judge=reward_model judge.model.path="$model"
judge oracle judge=oracle
curate top reward_model curation=top curation.share="$share"
curate random reward_model curation=random like="$folder/top"
curate exact_top oracle curation=top curation.share="$share"
choices=null
for name in top random exact_top; do choices+=,$folder/$name/selection.jsonl; done
train curated +control=none data.only="$choices"
train references +control=exact,rewarded
"$python" -m experiments.dossier retraining "$folder/curated" "$folder/references" -o "$folder/retraining.md"
