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
-- Returns {'ok', epoch, floor, safe_mode}: safe_mode is 1 where this settlement set it. The floor is the
-- oldest stream id that is not settled yet, or, where all that was delivered is settled, '(' and the newest
-- delivered one; '' where the group is gone.

local LEASE, STATE, EPOCH, LOCK, SUMS, STRINGS = 1, 2, 3, 4, 5, 5  -- places in KEYS; the first five are strings
local claims, results, plans, events = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local plan_id, is_claimed, stream_id, group, ttl_ms = ARGV[2], ARGV[3] == 'claimed', ARGV[5], ARGV[6], ARGV[8]
local filled_claim, symbol = ARGV[12], ARGV[16]  -- the claim of a filled open, else ''
local first_seen = 20 + ARGV[18]  -- ARGV[20] on: fields of the ledger, claims that every reading shows, the result
local first_of_result = first_seen + ARGV[19]

-- A script is not rolled back when a key turns out to be of a wrong type, so such a key goes:
-- whoever made it, the result has to be written, once.
local function sure(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then redis.call('DEL', key) end
  return redis.call(command, key, ...)
end

local held = redis.call('MGET', unpack(KEYS, 1, STRINGS))
if held[LEASE] ~= ARGV[1] then
  if not held[LEASE] then sure('GET', KEYS[LEASE]) end
  return {'not_leader', ''}
end
local unread = redis.call('EXISTS', unpack(KEYS, 1, STRINGS))  -- MGET takes a key of a wrong type for none
for index = 1, STRINGS do
  if held[index] then unread = unread - 1 end
end
if unread > 0 then
  for index = 1, STRINGS do
    if not held[index] then redis.call('DEL', KEYS[index]) end
  end
end

local state = held[STATE] or ''
if state == '' and is_claimed then
  local written = redis.pcall('XRANGE', results, stream_id, '+')
  for _, entry in ipairs(written.err and {} or written) do
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'plan_id' and entry[2][i + 1] == plan_id then return {'duplicate', 'terminal'} end
    end
  end
elseif state ~= ARGV[3] then
  return {'duplicate', state}
end

redis.call('PERSIST', KEYS[STATE])
sure('XADD', results, 'MAXLEN', '~', ARGV[7], '*', unpack(ARGV, first_of_result))
redis.call('SET', KEYS[STATE], 'terminal', 'PX', ttl_ms)
redis.call('SET', KEYS[10], ARGV[9], 'PX', ttl_ms)

local epoch = tonumber(held[EPOCH] or '0')
if not epoch then
  redis.call('DEL', KEYS[EPOCH])
  epoch = 0
end
local lasting = {}  -- keys and values, written together at the end
local function keep(key, value)
  lasting[#lasting + 1] = key
  lasting[#lasting + 1] = value
end

local gone = 0
if is_claimed then
  if filled_claim ~= '' then
    -- Its order of fields stays the engine's: claim.lua reads that without decoding.
    local function dated(claim)
      local undated = string.match(claim, '^({.*"%a+":%d+)}$')
      if undated and not string.find(claim, 'settled_epoch', 1, true) then
        return undated .. ',"settled_epoch":' .. string.format('%d', epoch) .. '}'
      end
      local readable, decoded = pcall(cjson.decode, claim)
      if not readable or type(decoded) ~= 'table' then decoded = cjson.decode(filled_claim) end
      decoded.settled_epoch = epoch
      return cjson.encode(decoded)
    end
    epoch = math.max(epoch, tonumber(ARGV[13])) + 1
    keep(KEYS[EPOCH], string.format('%d', epoch))
    local claim = sure('HGET', claims, plan_id) or filled_claim
    if redis.call('HSET', claims, plan_id, dated(claim)) == 1 then  -- it was lost: the sums lack it
      redis.call('DEL', KEYS[SUMS])
      held[SUMS] = false
    end
  else
    gone = sure('HDEL', claims, plan_id)
  end
  if held[LOCK] == plan_id then redis.call('DEL', KEYS[LOCK]) end
  if ARGV[15] == '1' then
    sure('ZREM', KEYS[11], plan_id)
    sure('ZREM', KEYS[12], plan_id)
  end
end
-- a claim that stands unsettled here was settled in what Redis has lost: it is to be recovered
for first = first_seen, first_of_result - 1, 500 do
  local last, settled = math.min(first + 499, first_of_result - 1), {}
  for i, text in ipairs(sure('HMGET', claims, unpack(ARGV, first, last))) do
    if text and string.find(text, 'settled_epoch', 1, true) then settled[#settled + 1] = ARGV[first + i - 1] end
  end
  if #settled > 0 then gone = gone + redis.call('HDEL', claims, unpack(settled)) end
end
local count, sums = string.match(held[SUMS] or '', '^(%d+)( .*)$')
if count and (is_claimed or gone > 0) then
  local from, to = string.find(sums, '\n' .. symbol .. ' ' .. plan_id .. '\n', 1, true)
  if from then sums = string.sub(sums, 1, from) .. string.sub(sums, to + 1) end
  keep(KEYS[SUMS], string.format('%d', count - gone) .. sums)
end

if first_seen > 20 then sure('HSET', KEYS[15], unpack(ARGV, 20, first_seen - 1)) end
if ARGV[14] ~= '' then redis.call('SET', KEYS[16], ARGV[14], 'EX', '86400') end
if ARGV[10] ~= '' then redis.call('SET', KEYS[17], ARGV[10], 'EX', '60') end
if ARGV[11] ~= '' then redis.call('SET', KEYS[18], ARGV[11], 'EX', '60') end

local safe_mode = 0
if ARGV[17] ~= '' then
  local rare = cjson.decode(ARGV[17])
  local function add_event(fields) sure('XADD', events, 'MAXLEN', '~', 10000, '*', unpack(fields)) end
  for _, latch in ipairs(rare.latches) do  -- a running one is not extended
    if redis.call('SET', latch.key, '1', 'EX', latch.ttl_s, 'NX') then add_event(latch.event) end
  end
  local failure = rare.margin_failure
  if failure then
    local fails, since_ms = KEYS[13], ARGV[4] - failure.window_ms
    sure('ZADD', fails, ARGV[4], plan_id)
    redis.call('ZREMRANGEBYSCORE', fails, '-inf', since_ms)
    redis.call('PEXPIRE', fails, failure.window_ms)
    if failure.safe_mode_s > 0 and redis.call('ZCARD', fails) >= failure.failures_max
      and redis.call('SET', KEYS[14], '1', 'EX', failure.safe_mode_s, 'NX') then
      safe_mode = 1
      add_event(failure.event)
    end
  end
  for _, event in ipairs(rare.events) do add_event(event) end
end

redis.pcall('XACK', plans, group, stream_id)
local floor = ''
local pending = redis.pcall('XPENDING', plans, group, '-', '+', '1')
if not pending.err and pending[1] then
  floor = pending[1][1]
elseif not pending.err then
  for _, about in ipairs(redis.call('XINFO', 'GROUPS', plans)) do
    local of = {}
    for i = 1, #about, 2 do of[about[i]] = about[i + 1] end
    if of.name == group then floor = '(' .. of['last-delivered-id'] end
  end
end
if floor ~= '' then keep(KEYS[19], floor) end
if #lasting > 0 then redis.call('MSET', unpack(lasting)) end
return {'ok', epoch, floor, safe_mode}
