-- Leave: acknowledge an entry that gets no result of its own, and tell of it on another stream, in one
-- step. The acknowledgement comes first: full memory (maxmemory) does not refuse it, and what was
-- begun may go on. KEYS: plan stream, other stream. ARGV: group, stream id, entries kept, fields.

redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 4))
return {'ok'}
