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
--
-- Reading every claim for every open would make a burst of opens cost their square. So sums are kept,
-- "claims notional margin" and a line "symbol plan_id" for each claim under way, which are never too
-- small: the money of claims that are gone stays in them until they are made anew. They hold while there
-- are as many claims as they count, so what others put in or take out is noticed. An open that has
-- room by the sums has room by the claims; where the sums would refuse it, name its symbol or do not
-- hold, the claims are read, and they alone decide. A caller who did not say what its readings show of
-- them (ARGV[17]) is asked for it then.

-- places in KEYS: the first nine are strings, of which the last five stop opens; counted things follow
local STATE, LOCK, SUMS, LEASE, KILL, DISARMED, SAFE_MODE, COOLDOWN_GLOBAL, COOLDOWN_SYMBOL = 1, 2, 3, 4, 5, 6, 7, 8, 9
local rate_symbol, rate_global, claims, plan = KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local is_open, plan_id, symbol = ARGV[2] == 'open', ARGV[3], ARGV[9]

-- Keys of ours that someone made of a wrong type cannot be read and would stop every plan: they go.
local function read(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  redis.call('DEL', key)
  return redis.call(command, key, ...)
end

local held = redis.call('MGET', unpack(KEYS, 1, COOLDOWN_SYMBOL))

-- kill_switch
if held[LEASE] ~= ARGV[1] then
  if not held[LEASE] then read('GET', KEYS[LEASE]) end
  return {'kill_switch', 'not_leader'}
end

-- MGET takes a stop of a wrong type for none. It exists all the same, and so what exists is counted.
local of_symbol, of_all, claimed = 0, 0, 0
if is_open then
  local unread = redis.call('EXISTS', unpack(KEYS, KILL, 12))
  for index = KILL, COOLDOWN_SYMBOL do
    if held[index] then unread = unread - 1 end
  end
  if unread > 0 then
    of_symbol, of_all, claimed = read('ZCARD', rate_symbol), read('ZCARD', rate_global), read('HLEN', claims)
    unread = unread - math.min(of_symbol, 1) - math.min(of_all, 1) - math.min(claimed, 1)
  end
  if unread > 0 then
    for index = KILL, COOLDOWN_SYMBOL do
      if not held[index] and redis.call('EXISTS', KEYS[index]) == 1 then held[index] = 'unreadable' end
    end
  end
end

local kill = held[KILL]
if kill == '1' or (is_open and kill and kill ~= '0') then
  return {'kill_switch', 'kill_switch_active'}
end
if is_open and held[DISARMED] then return {'kill_switch', 'disarmed'} end

-- idempotency
local state = held[STATE] or ''
if state ~= ARGV[8] then return {'idempotency', state} end

-- an order of ours in flight on the symbol; an exit passes a lock whose owner holds no claim
local holder = held[LOCK]
if holder and holder ~= plan_id and (is_open or read('HEXISTS', claims, holder) == 1) then
  return {'claim', 'symbol_in_flight'}
end

-- the sums; where there are none, an exit leaves them to the next open
local summed, notional, margin, under_way
if held[SUMS] then
  summed, notional, margin, under_way = string.match(held[SUMS], '^(%d+) (%d+) (%d+)(\n.*)$')
end

if is_open then
  -- latches
  if held[SAFE_MODE] then return {'rate_limit', 'safe_mode'} end
  if held[COOLDOWN_GLOBAL] then return {'rate_limit', 'cooldown_global'} end
  if held[COOLDOWN_SYMBOL] then return {'rate_limit', 'cooldown_symbol'} end

  if claimed == 0 then summed, notional, margin, under_way = 0, 0, 0, '\n' end
  local is_exact = claimed > 0
    and (tonumber(summed) ~= claimed or string.find(under_way, '\n' .. symbol .. ' ', 1, true))

  while true do  -- once by the sums, and again by the claims where the sums refuse
    -- what claims of other plans take, as far as the caller's readings do not show it
    local legs, symbols, others_notional, others_margin = claimed, claimed, tonumber(notional), tonumber(margin)
    if is_exact then
      if ARGV[17] == '' then return {'claim', 'seen_needed'} end

      -- A claim as the engine writes it, dated by settle.lua once it is settled. Matching it is cheaper than
      -- decoding, which is left for what others wrote. Returns nothing for what cannot be read.
      local function read_claim(text)
        local of, leg, its_notional, its_base, its_margin, rest = string.match(text, '^{"kind":"open",'
          .. '"symbol":"([^"\\]+)","leg":"([^"\\]+)","notional":(%d+),"base_notional":(%d+),"margin":(%d+)(.*)}$')
        local settled = rest and string.match(rest, '^,"settled_epoch":(%d+)$')
        if settled or rest == '' then
          return of, 'open', leg, tonumber(its_notional), tonumber(its_base), tonumber(its_margin), tonumber(settled)
        end
        local readable, other = pcall(cjson.decode, text)
        if not readable or type(other) ~= 'table' or type(other.symbol) ~= 'string' then return end
        its_notional, its_base = tonumber(other.notional), tonumber(other.base_notional)
        its_margin = tonumber(other.margin)
        local is_whole = type(other.leg) == 'string' and its_notional and its_base and its_margin
        if other.kind == 'open' and not is_whole then return end
        return other.symbol, other.kind, other.leg, its_notional, its_base, its_margin, tonumber(other.settled_epoch)
      end

      local positions_epoch, account_epoch, seen = tonumber(ARGV[15]), tonumber(ARGV[16]), cjson.decode(ARGV[17])
      local counted_legs, counted_symbols, lines, in_flight = {}, {}, {}, false
      for leg in pairs(seen) do
        counted_legs[leg] = true
        counted_symbols[string.match(leg, '^[^:]+')] = true
      end
      legs, symbols, others_notional, others_margin = 0, 0, 0, 0
      summed, notional, margin = 0, 0, 0
      local all = read('HGETALL', claims)
      for i = 1, #all, 2 do
        local owner, of, kind, leg, its_notional, its_base, its_margin, settled = all[i], read_claim(all[i + 1])
        local is_other = owner ~= plan_id
        if not of then
          redis.call('HDEL', claims, owner)
        else
          summed = summed + 1
        end
        if of and is_other and not settled then
          lines[#lines + 1] = of .. ' ' .. owner .. '\n'
          in_flight = in_flight or of == symbol
        end
        if of and kind == 'open' then
          notional, margin = notional + math.max(its_base + its_notional, 0), margin + math.max(its_margin, 0)
          if is_other and (not settled or settled > positions_epoch) then
            if not counted_legs[leg] then legs = legs + 1; counted_legs[leg] = true end
            if not counted_symbols[of] then symbols = symbols + 1; counted_symbols[of] = true end
            others_notional = others_notional + math.max(its_base + its_notional - (seen[leg] or 0), 0)
          end
          if is_other and (not settled or settled > account_epoch) then others_margin = others_margin + its_margin end
        end
      end
      under_way = '\n' .. table.concat(lines)
      if in_flight then return {'claim', 'symbol_in_flight'} end
      if counted_legs[ARGV[10]] then legs = -math.huge end  -- it takes no further place
      if counted_symbols[symbol] then symbols = -math.huge end
    end

    -- rate_limit
    if of_symbol > 0 or of_all > 0 then
      local symbol_window_ms, per_minute = tonumber(ARGV[11]), tonumber(ARGV[12])
      local per_5min, per_hour = tonumber(ARGV[13]), tonumber(ARGV[14])
      local function claimed_within(key, window_ms)
        return redis.call('ZCOUNT', key, '(' .. (ARGV[4] - window_ms), '+inf')
      end
      if symbol_window_ms and of_symbol > 0 and claimed_within(rate_symbol, symbol_window_ms) > 0 then
        return {'rate_limit', 'rate_limit_symbol'}
      end
      if per_minute and of_all >= per_minute and claimed_within(rate_global, 60000) >= per_minute then
        return {'rate_limit', 'rate_limit_global'}
      end
      if per_5min and of_symbol >= per_5min and claimed_within(rate_symbol, 300000) >= per_5min then
        return {'rate_limit', 'burst_limit_exceeded'}
      end
      if per_hour and of_symbol >= per_hour and claimed_within(rate_symbol, 3600000) >= per_hour then
        return {'rate_limit', 'hourly_limit_exceeded'}
      end
    end

    -- margin_guard, fund_caps, active_slots: each room is what the plan itself leaves to other claims
    local refusal
    local available_room, usage_room, notional_room = tonumber(ARGV[18]), tonumber(ARGV[19]), tonumber(ARGV[21])
    local positions_room, slots_room = tonumber(ARGV[20]), tonumber(ARGV[22])
    if available_room and others_margin > available_room then
      refusal = {'margin_guard', 'insufficient_margin'}
    elseif usage_room and others_margin > usage_room then
      refusal = {'margin_guard', 'margin_usage_exceeded'}
    elseif positions_room and legs >= positions_room then
      refusal = {'fund_caps', 'max_positions_reached'}
    elseif notional_room and others_notional > notional_room then
      refusal = {'fund_caps', 'total_notional_exceeded'}
    elseif slots_room and symbols >= slots_room then
      refusal = {'active_slots', 'active_slots_full'}
    end
    if not refusal then break end
    if is_exact then return refusal end
    is_exact = true
  end

  -- numbers as text: the server is slow to turn them into it
  redis.call('ZADD', rate_symbol, ARGV[4], plan_id)
  redis.call('ZADD', rate_global, ARGV[4], plan_id)
  if of_symbol % 16 == 15 then redis.call('ZREMRANGEBYSCORE', rate_symbol, '-inf', ARGV[4] - 3600000) end
  if of_all % 16 == 15 then redis.call('ZREMRANGEBYSCORE', rate_global, '-inf', ARGV[4] - 60000) end
  redis.call('PEXPIRE', rate_symbol, '3600000')
  redis.call('PEXPIRE', rate_global, '60000')
  notional, margin = notional + ARGV[23], margin + ARGV[24]
else
  redis.call('PERSIST', KEYS[STATE])
  read('HEXISTS', claims, plan_id)
end

-- the writes that a key of a wrong type could refuse are those whose keys were read: none is left half done
local added = redis.call('HSET', claims, plan_id, ARGV[6])
if summed then
  local line = symbol .. ' ' .. plan_id .. '\n'
  local sums = string.format('%d %d %d', summed + added, notional, margin) .. under_way .. line
  redis.call('MSET', KEYS[STATE], 'claimed', plan, ARGV[5], KEYS[SUMS], sums)
else
  redis.call('MSET', KEYS[STATE], 'claimed', plan, ARGV[5])
end
redis.call('SET', KEYS[LOCK], plan_id, 'PX', ARGV[7])
return {'ok'}
