-- Lease: take it if it is free, renew it if it is ours (SPEC 7.1). Value and TTL in one step.
-- KEYS: lease, fencing counter. ARGV: owner, value held so far ('' when none), ttl ms.
-- Returns the lease value "owner:token" on success, else the value that stands there, negated by
-- an empty first element.
for _, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= 'string' then redis.call('DEL', key) end
end
if not tonumber(redis.call('GET', KEYS[2]) or '0') then redis.call('DEL', KEYS[2]) end
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[2] then return {'', held} end
local value = ARGV[2]
if not held then value = ARGV[1] .. ':' .. redis.call('INCR', KEYS[2]) end
redis.call('SET', KEYS[1], value, 'PX', ARGV[3])
return {value, value}
