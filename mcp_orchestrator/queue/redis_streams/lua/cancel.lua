-- Cancel a task. ARGV: id, now, when to forget it, event.
local id, now, expires, event = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local f = redis.call('HMGET', task_key(id), 'status', 'entry', 'priority', 'kind', 'worker', 'cancel', 'waiters')
if f[6] or not (f[1] == 'pending' or f[1] == 'scheduled' or f[1] == 'processing') then return 0 end
redis.call('HSET', task_key(id), 'cancel', '1')
remember(id, event)
if f[1] == 'processing' then
  redis.call('RPUSH', q .. ':control:' .. f[5], id)
  redis.call('EXPIRE', q .. ':control:' .. f[5], LIST_SECONDS)
  return 1
end
redis.call('ZREM', q .. ':delayed', id)
unpark(id, f[4], f[3])
leave_stream(f[3], f[2])
redis.call('HSET', task_key(id), 'entry', '')
finish(id, 'cancelled', now, expires)
wake(id, f[7])
return 1
