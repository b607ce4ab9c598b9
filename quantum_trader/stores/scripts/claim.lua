-- Claim: everything a plan takes for itself, in one atomic step, or nothing at all (SPEC 7.2).
--
-- Order of the checks = order of the gates, so the first that fails is the gate that the result
-- names. Counted things (rate, positions, notional, margin, slots) are counted here again, over
-- the claims as they are now; the caller passes what it read from the exchange and the epochs of
-- those readings. A claim settled in an epoch that a reading does not know yet still counts.
-- Money arrives as whole micro-USDT, which doubles hold exactly up to 9 billion USDT.
-- An empty limit is no limit (its gate is in shadow or off). Returns {'ok'} or {gate, reason}.
-- With full memory (maxmemory) an open's first write is refused, and so nothing of it is taken; an
-- exit begins with a write that is not refused, and what was begun may go on.

local KEY = {
  lease = KEYS[1], kill = KEYS[2], disarmed = KEYS[3], safe_mode = KEYS[4], cooldown_global = KEYS[5],
  cooldown_symbol = KEYS[6], processed = KEYS[7], plan = KEYS[8], lock = KEYS[9],
  rate_symbol = KEYS[10], rate_global = KEYS[11], claims = KEYS[12],
}
local is_open, plan_id, now_ms = ARGV[2] == 'open', ARGV[3], tonumber(ARGV[4])
local record, claim, lock_ttl_ms = ARGV[5], ARGV[6], ARGV[7]

local function number(index) return tonumber(ARGV[index]) end

-- Keys of ours that someone made of a wrong type cannot be read and would stop every plan: they go.
local function read(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  redis.call('DEL', key)
  return redis.call(command, key, ...)
end

-- A claim as the engine writes it, dated by settle.lua once it is settled. Matching it is cheaper than
-- decoding, which is left for what others wrote. Returns nothing for what cannot be read.
local OURS = '^{"kind":"open","symbol":"([^"\\]+)","leg":"([^"\\]+)","notional":(%d+),"base_notional":(%d+),'
  .. '"margin":(%d+)(.*)}$'
local function read_claim(text)
  local symbol, leg, notional, base, margin, rest = string.match(text, OURS)
  local settled = rest and string.match(rest, '^,"settled_epoch":(%d+)$')
  if settled or rest == '' then
    return symbol, 'open', leg, tonumber(notional), tonumber(base), tonumber(margin), tonumber(settled)
  end
  local readable, other = pcall(cjson.decode, text)
  if readable and type(other) == 'table' and type(other.symbol) == 'string' then
    return other.symbol, other.kind, other.leg, other.notional, other.base_notional, other.margin, other.settled_epoch
  end
end

-- kill_switch
if read('GET', KEY.lease) ~= ARGV[1] then return {'kill_switch', 'not_leader'} end
local kill = redis.pcall('GET', KEY.kill)  -- a key of the wrong kind is unreadable, and stops opens
if kill == '1' or (is_open and kill and kill ~= '0') then
  return {'kill_switch', 'kill_switch_active'}
end
local stops = is_open
  and redis.call('EXISTS', KEY.disarmed, KEY.safe_mode, KEY.cooldown_global, KEY.cooldown_symbol) or 0
if stops > 0 and redis.call('EXISTS', KEY.disarmed) == 1 then return {'kill_switch', 'disarmed'} end

-- idempotency
local state = read('GET', KEY.processed) or ''
if state ~= ARGV[8] then return {'idempotency', state} end

-- an order of ours in flight on the symbol; an exit passes a lock whose owner holds no claim
local holder = read('GET', KEY.lock)
if holder and holder ~= plan_id and (is_open or read('HEXISTS', KEY.claims, holder) == 1) then
  return {'claim', 'symbol_in_flight'}
end

if is_open then
  local symbol, leg, is_new_leg = ARGV[9], ARGV[10], ARGV[11] == '1'

  -- latches
  if stops > 0 then
    if redis.call('EXISTS', KEY.safe_mode) == 1 then return {'rate_limit', 'safe_mode'} end
    if redis.call('EXISTS', KEY.cooldown_global) == 1 then return {'rate_limit', 'cooldown_global'} end
    if redis.call('EXISTS', KEY.cooldown_symbol) == 1 then return {'rate_limit', 'cooldown_symbol'} end
  end

  -- claims of other plans, as far as the caller's readings do not show them
  local positions_epoch, account_epoch = number(16), number(17)
  local seen = cjson.decode(ARGV[18])
  local legs, symbols, notional, margin = 0, 0, 0, 0
  local counted_legs, counted_symbols = {}, {}
  for seen_leg in pairs(seen) do
    counted_legs[seen_leg] = true
    counted_symbols[string.match(seen_leg, '^[^:]+')] = true
  end
  local held = read('HGETALL', KEY.claims)
  for i = 1, #held, 2 do
    local of, kind, its_leg, its_notional, its_base, its_margin, settled = read_claim(held[i + 1])
    if not of then redis.call('HDEL', KEY.claims, held[i]) end
    if of and held[i] ~= plan_id then
      if not settled and of == symbol then return {'claim', 'symbol_in_flight'} end
      if kind == 'open' and (not settled or settled > positions_epoch) then
        if not counted_legs[its_leg] then legs = legs + 1; counted_legs[its_leg] = true end
        if not counted_symbols[of] then symbols = symbols + 1; counted_symbols[of] = true end
        local unseen = its_base + its_notional - (seen[its_leg] or 0)
        if unseen > 0 then notional = notional + unseen end
      end
      if kind == 'open' and (not settled or settled > account_epoch) then margin = margin + its_margin end
    end
  end

  -- rate_limit
  local symbol_window_ms, per_minute, per_5min, per_hour = number(12), number(13), number(14), number(15)
  local of_symbol, of_all = read('ZCARD', KEY.rate_symbol), read('ZCARD', KEY.rate_global)
  local function claimed_within(key, window_ms)
    if (key == KEY.rate_symbol and of_symbol or of_all) == 0 then return 0 end
    return redis.call('ZCOUNT', key, '(' .. (now_ms - window_ms), '+inf')
  end
  if symbol_window_ms and claimed_within(KEY.rate_symbol, symbol_window_ms) > 0 then
    return {'rate_limit', 'rate_limit_symbol'}
  end
  if per_minute and of_all >= per_minute and claimed_within(KEY.rate_global, 60000) >= per_minute then
    return {'rate_limit', 'rate_limit_global'}
  end
  if per_5min and of_symbol >= per_5min and claimed_within(KEY.rate_symbol, 300000) >= per_5min then
    return {'rate_limit', 'burst_limit_exceeded'}
  end
  if per_hour and of_symbol >= per_hour and claimed_within(KEY.rate_symbol, 3600000) >= per_hour then
    return {'rate_limit', 'hourly_limit_exceeded'}
  end

  -- margin_guard
  local required, available, usage_room, own_margin = number(19), number(20), number(21), number(22)
  if required and available - margin < required then
    return {'margin_guard', 'insufficient_margin'}
  end
  if usage_room and margin + own_margin > usage_room then
    return {'margin_guard', 'margin_usage_exceeded'}
  end

  -- fund_caps
  local positions_room, notional_room, own_notional = number(23), number(24), number(25)
  if is_new_leg and positions_room and not counted_legs[leg] and legs >= positions_room then
    return {'fund_caps', 'max_positions_reached'}
  end
  if notional_room and notional + own_notional > notional_room then
    return {'fund_caps', 'total_notional_exceeded'}
  end

  -- active_slots
  local slots_room = number(26)
  if is_new_leg and slots_room and not counted_symbols[symbol] and symbols >= slots_room then
    return {'active_slots', 'active_slots_full'}
  end

  redis.call('ZADD', KEY.rate_symbol, now_ms, plan_id)
  redis.call('ZADD', KEY.rate_global, now_ms, plan_id)
  if of_symbol > 0 then redis.call('ZREMRANGEBYSCORE', KEY.rate_symbol, '-inf', now_ms - 3600000) end
  if of_all > 0 then redis.call('ZREMRANGEBYSCORE', KEY.rate_global, '-inf', now_ms - 60000) end
  redis.call('PEXPIRE', KEY.rate_symbol, 3600000)
  redis.call('PEXPIRE', KEY.rate_global, 60000)
end

if not is_open then
  redis.call('PERSIST', KEY.processed)
  read('HEXISTS', KEY.claims, plan_id)
end
-- the writes that a key of a wrong type could refuse are those whose keys were read: none is left half done
redis.call('HSET', KEY.claims, plan_id, claim)
redis.call('SET', KEY.processed, 'claimed')
redis.call('SET', KEY.plan, record)
redis.call('SET', KEY.lock, plan_id, 'PX', lock_ttl_ms)
return {'ok'}
