-- Register a waiting process. ARGV: id, waiter. Returns 1 when it is to wait, 0 when the task has
-- ended or is unknown.
local status = redis.call('HGET', task_key(ARGV[1]), 'status')
if status ~= 'pending' and status ~= 'scheduled' and status ~= 'processing' then return 0 end
local waiters = redis.call('HGET', task_key(ARGV[1]), 'waiters') or ''
if not string.find(' ' .. waiters .. ' ', ' ' .. ARGV[2] .. ' ', 1, true) then
  redis.call('HSET', task_key(ARGV[1]), 'waiters', waiters .. ' ' .. ARGV[2])
end
return 1
