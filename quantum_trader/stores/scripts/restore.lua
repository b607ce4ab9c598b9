-- Restore: put back what the mirror in state_dir knows of a plan that may have sent an order, and that
-- Redis has lost or knows an older state of: a failover, a rollback, deleted keys (SPEC 7.8, INC-18).
-- A plan with a result keeps it. Of two records the one of the later order, or signature, counts.
-- KEYS: lease, processed, plan, claims, results, sums over the claims (claim.lua), which lack this one.
-- ARGV: lease value, plan id, record, claim, stream id, number of its order, timestamp of its order.
-- Returns {state that the plan has now}, or {'not_leader'}.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'not_leader'} end
local state = redis.call('GET', KEYS[2]) or ''
if state == 'terminal' then return {'terminal'} end

if state == '' then
  local written = redis.pcall('XRANGE', KEYS[5], ARGV[5], '+')
  for _, entry in ipairs(written.err and {} or written) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'plan_id' and entry[2][i + 1] == ARGV[2] then return {'terminal'} end
    end
  end
end

local readable, stored = pcall(cjson.decode, redis.call('GET', KEYS[3]) or '')
local number, signed_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
local is_newer = state == 'claimed' and readable and type(stored) == 'table' and type(stored.order) == 'table'
  and (stored.order.number > number or (stored.order.number == number and stored.timestamp_ms >= signed_ms))
redis.call('PERSIST', KEYS[2])
if not is_newer then redis.call('SET', KEYS[3], ARGV[3]) end
if redis.call('HSETNX', KEYS[4], ARGV[2], ARGV[4]) == 1 then redis.call('DEL', KEYS[6]) end
redis.call('SET', KEYS[2], 'claimed')
return {'claimed'}
