-- Give a dead letter or failed task all its attempts again. ARGV: id, now, event.
local id, now, event = ARGV[1], ARGV[2], ARGV[3]
local f = redis.call('HMGET', task_key(id), 'status', 'kind', 'priority')
if f[1] ~= 'dead_letter' and f[1] ~= 'failed' then return 0 end
redis.call('HINCRBY', q .. ':counts', f[1], -1)
redis.call('ZREM', q .. ':finished', id)
redis.call('ZREM', q .. ':dead', id)
redis.call('HDEL', task_key(id), 'finished', 'cancel')
redis.call('HSET', task_key(id), 'attempt', 0, 'due', now)
remember(id, event)
enqueue(id, f[2], f[3], redis.call('INCR', q .. ':sequence'))
return 1
