-- Settle: the one result of a plan with everything that goes with it, in one atomic step (SPEC 7.7).
--
-- ARGV[3] says in which state the plan must be: '' (never claimed) or 'claimed'. Anything else
-- means that someone settled it before: nothing is written and {'duplicate', state} returned, so a
-- plan cannot get a second result. A filled open leaves its claim behind, dated with the next
-- epoch, until every reading in use is newer (claim.lua); any other claim is deleted.
-- A plan whose claim was lost with Redis' keys (state '') is settled like a claimed one, unless the
-- result stream has its result already: the engine that asks holds the lease and sent its order.
-- The first write is one that full memory (maxmemory) does not refuse, and what was begun may go on:
-- a result is written also then.
-- Returns {'ok', epoch, floor, safe_mode}: safe_mode is 1 where this settlement set it. The floor is the oldest stream id that is not settled yet, or, where
-- all that was delivered is settled, '(' and the newest delivered one; '' where the group is gone.

local KEY = {
  lease = KEYS[1], processed = KEYS[2], plan = KEYS[3], claims = KEYS[4], lock = KEYS[5],
  results = KEYS[6], plans = KEYS[7], events = KEYS[8], epoch = KEYS[9], rate_symbol = KEYS[10],
  rate_global = KEYS[11], margin_fails = KEYS[12], safe_mode = KEYS[13], ledger = KEYS[14],
  last_exec_ms = KEYS[15], permit_p32 = KEYS[16], permit_p33 = KEYS[17], floor = KEYS[18],
}
local plan_id, expected, now_ms = ARGV[2], ARGV[3], tonumber(ARGV[4])
local extra = cjson.decode(ARGV[5])
local record, permit_p32, permit_p33, RESULT = ARGV[6], ARGV[7], ARGV[8], 9  -- the result: ARGV[9] to the end

-- A script is not rolled back when a key turns out to be of a wrong type, so such keys go first:
-- whoever made them, the result has to be written, once.
local function hold_type(key, kind)
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= kind then redis.call('DEL', key) end
end
hold_type(KEY.lease, 'string')
if redis.call('GET', KEY.lease) ~= ARGV[1] then return {'not_leader', ''} end
hold_type(KEY.processed, 'string')
local state = redis.call('GET', KEY.processed) or ''
if state == '' and expected == 'claimed' then
  local written = redis.pcall('XRANGE', KEY.results, extra.stream_id, '+')
  for _, entry in ipairs(written.err and {} or written) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'plan_id' and entry[2][i + 1] == plan_id then return {'duplicate', 'terminal'} end
    end
  end
elseif state ~= expected then
  return {'duplicate', state}
end
redis.call('PERSIST', KEY.processed)
hold_type(KEY.results, 'stream')
hold_type(KEY.epoch, 'string')
local epoch = tonumber(redis.call('GET', KEY.epoch) or '0')
if not epoch then
  redis.call('DEL', KEY.epoch)
  epoch = 0
end
if expected == 'claimed' then hold_type(KEY.lock, 'string') end
if expected == 'claimed' or #extra.seen_claims > 0 then hold_type(KEY.claims, 'hash') end
if #extra.ledger > 0 then hold_type(KEY.ledger, 'hash') end
if extra.return_rate_token then
  hold_type(KEY.rate_symbol, 'zset')
  hold_type(KEY.rate_global, 'zset')
end
if extra.margin_failure then hold_type(KEY.margin_fails, 'zset') end
if extra.margin_failure or #extra.latches > 0 or #extra.events > 0 then hold_type(KEY.events, 'stream') end

local function add_event(fields)
  redis.call('XADD', KEY.events, 'MAXLEN', '~', 10000, '*', unpack(fields))
end

-- Its order of fields stays the engine's: claim.lua reads that without decoding.
local function dated(claim, epoch)
  local undated = string.match(claim, '^({.*"%a+":%d+)}$')
  if undated and not string.find(claim, 'settled_epoch', 1, true) then
    return undated .. ',"settled_epoch":' .. string.format('%d', epoch) .. '}'
  end
  local decoded = cjson.decode(claim)
  decoded.settled_epoch = epoch
  return cjson.encode(decoded)
end

redis.call('XADD', KEY.results, 'MAXLEN', '~', extra.results_kept, '*', unpack(ARGV, RESULT))
redis.call('SET', KEY.processed, 'terminal', 'PX', extra.terminal_ttl_ms)
redis.call('SET', KEY.plan, record, 'PX', extra.terminal_ttl_ms)

if expected == 'claimed' then
  if extra.filled_open then
    epoch = math.max(epoch, extra.epoch_known) + 1
    redis.call('SET', KEY.epoch, string.format('%d', epoch))
    local claim = redis.call('HGET', KEY.claims, plan_id) or extra.claim
    redis.call('HSET', KEY.claims, plan_id, dated(claim, epoch))
  else
    redis.call('HDEL', KEY.claims, plan_id)
  end
  if redis.call('GET', KEY.lock) == plan_id then redis.call('DEL', KEY.lock) end
  if extra.return_rate_token then
    redis.call('ZREM', KEY.rate_symbol, plan_id)
    redis.call('ZREM', KEY.rate_global, plan_id)
  end
end
-- a claim that stands unsettled here was settled in what Redis has lost: it is to be recovered
for _, forgotten in ipairs(extra.seen_claims) do
  local held = redis.call('HGET', KEY.claims, forgotten)
  if held and string.find(held, 'settled_epoch', 1, true) then redis.call('HDEL', KEY.claims, forgotten) end
end

if #extra.ledger > 0 then redis.call('HSET', KEY.ledger, unpack(extra.ledger)) end
if extra.opened_ms then
  redis.call('SET', KEY.last_exec_ms, extra.opened_ms, 'EX', 86400)
end
if permit_p32 ~= '' then redis.call('SET', KEY.permit_p32, permit_p32, 'EX', 60) end
if permit_p33 ~= '' then redis.call('SET', KEY.permit_p33, permit_p33, 'EX', 60) end

-- latches: a running one is not extended
for _, latch in ipairs(extra.latches) do
  if redis.call('SET', latch.key, '1', 'EX', latch.ttl_s, 'NX') then add_event(latch.event) end
end
local failure, safe_mode = extra.margin_failure, 0
if failure then
  redis.call('ZADD', KEY.margin_fails, now_ms, plan_id)
  redis.call('ZREMRANGEBYSCORE', KEY.margin_fails, '-inf', now_ms - failure.window_ms)
  redis.call('PEXPIRE', KEY.margin_fails, failure.window_ms)
  if failure.safe_mode_s > 0 and redis.call('ZCARD', KEY.margin_fails) >= failure.failures_max
    and redis.call('SET', KEY.safe_mode, '1', 'EX', failure.safe_mode_s, 'NX') then
    safe_mode = 1
    add_event(failure.event)
  end
end
for _, event in ipairs(extra.events) do add_event(event) end

redis.call('XACK', KEY.plans, extra.group, extra.stream_id)
local floor = ''
local pending = redis.pcall('XPENDING', KEY.plans, extra.group, '-', '+', 1)
if not pending.err and pending[1] then
  floor = pending[1][1]
elseif not pending.err then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEY.plans)) do
    local about = {}
    for i = 1, #group, 2 do about[group[i]] = group[i + 1] end
    if about.name == extra.group then floor = '(' .. about['last-delivered-id'] end
  end
end
if floor ~= '' then redis.call('SET', KEY.floor, floor) end
return {'ok', epoch, floor, safe_mode}
