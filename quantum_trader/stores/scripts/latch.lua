-- Latch: set a stop if it is not set, and publish its event, in one step.
-- KEYS: latch, events. ARGV: value, ttl s ('' for one without end), event as a flat JSON list.
-- A stop is set with full memory too: the first write is one that is not refused then.
redis.call('PERSIST', KEYS[2])
local set
if ARGV[2] == '' then
  set = redis.call('SET', KEYS[1], ARGV[1], 'NX')
else
  set = redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX')
end
if not set then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*', unpack(cjson.decode(ARGV[3])))
return 1
