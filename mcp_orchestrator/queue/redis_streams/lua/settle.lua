-- Record how deliveries ended, in whatever way. ARGV: now, then for each
-- id, epoch, status, when to forget it, result, error, due, event, '1' if the attempt counts.
-- Returns for each 1, or 0 when its holder is late. What is already so under the same lease is
-- accepted, so that a caller whose connection broke may say it again.
local now = ARGV[1]
local outcomes = {}
for i = 2, #ARGV, 9 do
  local id, epoch, status, expires = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local result, err, due, event = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
  local f = redis.call('HMGET', task_key(id), 'status', 'epoch', 'entry', 'priority', 'kind', 'order',
    'cancel', 'waiters')
  if f[2] ~= epoch then
    outcomes[#outcomes + 1] = 0
  elseif f[1] ~= 'processing' then
    outcomes[#outcomes + 1] = f[1] == status and 1 or 0
  else
    outcomes[#outcomes + 1] = 1
    if f[7] and (status == 'pending' or status == 'scheduled') then status = 'cancelled' end
    redis.call('ZREM', q .. ':leases', id)
    leave_stream(f[4], f[3])
    stop_running(f[5])
    redis.call('HSET', task_key(id), 'entry', '')
    remember(id, event)
    if ARGV[i + 8] ~= '1' then redis.call('HINCRBY', task_key(id), 'attempt', -1) end
    if result ~= '' then redis.call('HSET', task_key(id), 'result', result) end
    if err ~= '' then redis.call('HSET', task_key(id), 'error', err) else redis.call('HDEL', task_key(id), 'error') end
    if status == 'pending' then
      redis.call('HSET', task_key(id), 'status', status)
      park(id, f[5], f[4], f[6])
      ring(f[5])
    elseif status == 'scheduled' then
      redis.call('HSET', task_key(id), 'status', status, 'due', due)
      redis.call('ZADD', q .. ':delayed', due, id)
      ring(f[5])
    else
      finish(id, status, now, expires)
      wake(id, f[8])
    end
  end
end
forget_expired(now, 2 * #outcomes)
return outcomes
