-- Kill change: publish the kill switch's value, unless the newest KILL_SWITCH_CHANGED says it already.
-- Commands set value and event together, so that only what another client did is told here, and by one
-- of several engines. KEYS: kill, events. ARGV: ms. Returns 1 where it was published.
local value = redis.call('MGET', KEYS[1])[1] or '0'
local said = '0'

local function kill_of(entry)
  local fields = {}
  for i = 1, #entry, 2 do fields[entry[i]] = entry[i + 1] end
  return fields.event == 'KILL_SWITCH_CHANGED' and fields.kill or nil
end

for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-')) do
  local found = kill_of(entry[2])
  if found then
    said = found
    break
  end
end
if said == value then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*',
  'event', 'KILL_SWITCH_CHANGED', 'kill', value, 'reason', '', 'timestamp', ARGV[1])
return 1
