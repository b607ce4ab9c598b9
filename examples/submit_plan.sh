#!/bin/sh
# Buy over HTTP and wait for the result. Needs curl.
#   QT_URL=http://127.0.0.1:8080 QT_TOKEN=… sh examples/submit_plan.sh
set -eu
: "${QT_URL:=http://127.0.0.1:8080}" "${QT_SYMBOL:=XRPUSDT}"
plan_id="shell-$(date +%s)-$$"

curl -sS --fail-with-body "$QT_URL/api/plans" \
  -H "Authorization: Bearer $QT_TOKEN" -H 'Content-Type: application/json' \
  -d "{\"plan_id\": \"$plan_id\", \"symbol\": \"$QT_SYMBOL\", \"side\": \"BUY\", \"qty\": 20, \"reduceOnly\": false}"
echo
curl -sS --fail-with-body -H "Authorization: Bearer $QT_TOKEN" "$QT_URL/api/plans/$plan_id?wait_s=30"
echo
