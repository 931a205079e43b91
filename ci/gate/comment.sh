#!/usr/bin/env bash
# Write the gate's summary as one comment on a pull request, and update it each time. If it cannot be written (the token of a fork is
# read-only), print a warning; the verdict is the exit code of the gate, not of this script.
#   GH_TOKEN=... REPOSITORY=owner/name PULL_REQUEST=12 ci/gate/comment.sh gate-report/summary.md
set -u
summary=$1
if [ ! -s "$summary" ]; then echo "::warning::no summary to comment with: $summary"; exit 0; fi
marker=$(head -n 1 "$summary")
comments="repos/$REPOSITORY/issues/$PULL_REQUEST/comments"
id=$(gh api --paginate "$comments" --jq '.[] | [.id, .body] | @json' | python3 -c '
import json, sys
marked = [id for id, body in map(json.loads, sys.stdin) if body.startswith(sys.argv[1])]
print(marked[0] if marked else "")' "$marker") || id=
if [ -n "$id" ]; then
  gh api --method PATCH "repos/$REPOSITORY/issues/comments/$id" -F "body=@$summary" > /dev/null
else
  gh api --method POST "$comments" -F "body=@$summary" > /dev/null
fi || echo "::warning::the comment could not be written; the summary is in the step summary and in the report"
exit 0
