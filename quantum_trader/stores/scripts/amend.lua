-- Amend: rewrite what is stored of a claimed plan before it sends again under the same token:
-- a new timestamp after -1021, or the next order of an exit (SPEC 7.3, 7.6).
-- The kill switch is looked at again: what it stops now is not sent, whatever was claimed before.
-- The first write is one that full memory does not refuse: what is claimed is brought to its end.
-- KEYS: lease, processed, plan, lock, claims, kill.
-- What is stored of a later order than the caller knew of was sent by another engine meanwhile.
-- ARGV: lease value, plan id, record, lock ttl ms, kind (open or exit), number of the order known so far.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'kill_switch', 'not_leader'} end
local kill = redis.pcall('GET', KEYS[6])
if kill == '1' or (ARGV[5] == 'open' and kill and kill ~= '0') then
  return {'kill_switch', 'kill_switch_active'}
end
if redis.call('GET', KEYS[2]) ~= 'claimed' then return {'idempotency', 'not_claimed'} end
local text = redis.call('GET', KEYS[3]) or ''
local readable, stored = pcall(cjson.decode, text)
local number = readable and type(stored) == 'table' and type(stored.order) == 'table' and tonumber(stored.order.number)
if number and number > tonumber(ARGV[6]) and text ~= ARGV[3] then return {'idempotency', 'went_on'} end
local holder = redis.call('GET', KEYS[4])
if holder and holder ~= ARGV[2]
  and (ARGV[5] == 'open' or redis.call('HEXISTS', KEYS[5], holder) == 1) then return {'claim', 'symbol_in_flight'} end
redis.call('PERSIST', KEYS[3])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[4])
return {'ok'}
