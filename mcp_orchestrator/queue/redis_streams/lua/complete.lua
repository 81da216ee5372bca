-- Record results; settle.lua for the one end that nearly every delivery has. ARGV: now, when to forget
-- the tasks, then for each id, epoch, result. Returns for each 1, or 0 when its holder is late.
local now, expires = ARGV[1], ARGV[2]
local outcomes = {}
for i = 3, #ARGV, 3 do
  local id = ARGV[i]
  local f = redis.call('HMGET', task_key(id), 'status', 'epoch', 'entry', 'priority', 'waiters', 'error',
    'kind')
  if f[2] ~= ARGV[i + 1] then
    outcomes[#outcomes + 1] = 0
  elseif f[1] ~= 'processing' then
    outcomes[#outcomes + 1] = f[1] == 'completed' and 1 or 0
  else
    outcomes[#outcomes + 1] = 1
    redis.call('ZREM', q .. ':leases', id)
    leave_stream(f[3], f[4])
    redis.call('HSET', task_key(id), 'result', ARGV[i + 2], 'status', 'completed', 'finished', now, 'entry', '')
    redis.call('ZADD', q .. ':finished', expires, id)
    redis.call('HINCRBY', q .. ':counts', 'completed', 1)
    stop_running(f[7])
    if f[6] then redis.call('HDEL', task_key(id), 'error') end
    wake(id, f[5])
  end
end
forget_expired(now, 2 * #outcomes)
return outcomes
