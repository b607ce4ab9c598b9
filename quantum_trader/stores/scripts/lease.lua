-- Lease: take it if it is free, renew it if it is ours (SPEC 7.1). Value and TTL in one step.
-- KEYS: lease, fencing counter. ARGV: owner, value held so far ('' when none), ttl ms.
-- Returns the lease value "owner:token" on success, else the value that stands there, negated by
-- an empty first element. An owner whose reply was lost finds the lease taken by himself: it is his.
-- Full memory (maxmemory) does not refuse the first write here, and what was begun may go on.
for _, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= 'string' then redis.call('DEL', key) end
end
if not tonumber(redis.call('GET', KEYS[2]) or '0') then redis.call('DEL', KEYS[2]) end
local held = redis.call('GET', KEYS[1])
local mine = ARGV[1] .. ':'
if held and held ~= ARGV[2] and string.sub(held, 1, #mine) ~= mine then return {'', held} end
redis.call('PERSIST', KEYS[2])
local value = held or mine .. redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], value, 'PX', ARGV[3])
return {value, value}
