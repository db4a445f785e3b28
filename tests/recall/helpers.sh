# SPDX-License-Identifier: MIT
# Read by the tests of both trainers, of recall and of language models: sh SCRIPT.sh [PROGRAM]
set -u
if [ $# -eq 0 ]; then
  echo "skipped: the trainer needs LibTorch (Debian: libtorch-dev), which was not found"
  exit 77
fi
program=$1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1

fail() {
  echo "FAIL: $*"
  exit 1
}

# Learnt in some hundred steps.
# shellcheck disable=SC2034
small="--task mqar --vocabulary 16 --length 16 --items 2 --d-model 16 --heads 1 --batch 32 \
--learning-rate 0.02"
