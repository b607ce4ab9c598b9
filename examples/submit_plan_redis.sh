#!/bin/sh
# Buy over Redis and wait for the result. Needs redis-cli.
#   sh examples/submit_plan_redis.sh            # the Redis of `make run`
#   QT_REDIS_CLI='redis-cli -u redis://…' sh examples/submit_plan_redis.sh
set -eu
: "${QT_REDIS_CLI:=redis-cli -s state/valkey.sock}" "${QT_SYMBOL:=XRPUSDT}"
plan_id="shell-$(date +%s)-$$"

$QT_REDIS_CLI XADD quantum:stream:apply.plan '*' plan_id "$plan_id" decision EXECUTE \
  symbol "$QT_SYMBOL" side BUY qty 20 reduceOnly false source example
tries=0
until result=$($QT_REDIS_CLI XREVRANGE quantum:stream:apply.result + - COUNT 100) &&
  printf '%s' "$result" | grep -q "$plan_id"; do
  tries=$((tries + 1))
  [ "$tries" -lt 60 ] || { echo "no result of $plan_id within 30 s" >&2; exit 1; }
  sleep 0.5
done
printf '%s\n' "$result" | sed -n "/^$plan_id\$/,/^trace\$/p"
