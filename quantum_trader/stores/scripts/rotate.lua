-- Rotate: park a plan, lock the one rotation, ask for the close: all of it or nothing (SPEC 6.6).
-- Every stop that the candidate's claim would meet is looked at here: nothing is closed for a plan that
-- may not open (claim.lua looks again, at the end).
-- KEYS: lease, kill, rotation lock, rotation lock by plan, processed, plan record, plan stream, events,
-- disarmed, safe mode, cooldown of all, cooldown of the candidate's symbol.
-- ARGV: lease value, lock JSON, lock ttl ms, parked record JSON, close plan and event as flat JSON lists.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'kill_switch', 'not_leader'} end
local kill = redis.pcall('GET', KEYS[2])  -- a key of the wrong kind is unreadable, and stops opens
if kill and kill ~= '0' then return {'kill_switch', 'kill_switch_active'} end
if redis.call('EXISTS', KEYS[9]) == 1 then return {'kill_switch', 'disarmed'} end
if redis.call('TYPE', KEYS[5])['ok'] ~= 'string' then redis.call('DEL', KEYS[5]) end
local state = redis.call('GET', KEYS[5])
if state then return {'idempotency', state} end
if redis.call('EXISTS', KEYS[10]) == 1 then return {'rate_limit', 'safe_mode'} end
if redis.call('EXISTS', KEYS[11]) == 1 then return {'rate_limit', 'cooldown_global'} end
if redis.call('EXISTS', KEYS[12]) == 1 then return {'rate_limit', 'cooldown_symbol'} end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'active_slots', 'active_slots_waiting_rotation_close'} end

redis.call('SET', KEYS[5], 'parked')
redis.call('SET', KEYS[6], ARGV[4])
redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[3])
redis.call('XADD', KEYS[7], '*', unpack(cjson.decode(ARGV[5])))
redis.call('XADD', KEYS[8], 'MAXLEN', '~', 10000, '*', unpack(cjson.decode(ARGV[6])))
return {'ok'}
