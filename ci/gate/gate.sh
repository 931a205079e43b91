#!/usr/bin/env bash
# `harness gate check` for any CI: same arguments, same exit code; on GitHub it also sets the step summary and the output `verdict`.
#   ci/gate/gate.sh runs/candidate --lock gate.lock.json --out gate-report
#   HARNESS=.venv/bin/harness ci/gate/gate.sh --model checkpoints/step-2000
set -u
out=gate-report
arguments=("$@")
for ((i = 0; i < ${#arguments[@]}; i++)); do
  case ${arguments[i]} in
    --out) out=${arguments[i + 1]:-$out} ;;
    --out=*) out=${arguments[i]#--out=} ;;
  esac
done
# remove an earlier verdict, so that a crash does not leave it in place
rm -f "$out"/{verdict.json,summary.md,junit.xml,annotations.txt,badge.json,items_flipped.csv,forest.svg}
"${HARNESS:-harness}" gate check "$@"
code=$?
if [ "$code" = 0 ] && [ ! -s "$out/verdict.json" ]; then
  echo "the gate gave no verdict" >&2
  code=1
fi
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$out/summary.md" ]; then cat "$out/summary.md" >> "$GITHUB_STEP_SUMMARY"; fi
if [ -n "${GITHUB_OUTPUT:-}" ] && [ -f "$out/verdict.json" ]; then
  python3 -c 'import json, sys; print("verdict=" + json.load(open(sys.argv[1]))["verdict"])' "$out/verdict.json" >> "$GITHUB_OUTPUT"
fi
exit "$code"
