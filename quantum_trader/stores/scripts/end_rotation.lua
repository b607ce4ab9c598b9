-- End a rotation: unlock and tell how it ended, in one step. The lock of another plan's rotation stands, and
-- nothing is told then: an engine that was paused may go on after its rotation was ended elsewhere.
-- KEYS: rotation lock, rotation lock by plan, events. ARGV: plan id, fields of the event.

redis.call('DEL', KEYS[2])
local lock = redis.pcall('GET', KEYS[1])
local readable, rotation = pcall(cjson.decode, type(lock) == 'string' and lock or '')
if readable and type(rotation) == 'table' and rotation.new_plan_id ~= ARGV[1] then return {'another'} end
redis.call('DEL', KEYS[1])
if redis.call('TYPE', KEYS[3])['ok'] ~= 'stream' then redis.call('DEL', KEYS[3]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', unpack(ARGV, 2))
return {'ok'}
