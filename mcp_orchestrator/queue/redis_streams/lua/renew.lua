-- A heartbeat. ARGV: lease end, number of workers, for each id and description, then for each lease
-- id and epoch. Returns for each lease 1, 0 when it was lost, 2 when the task is to be cancelled.
local leases_from = 3 + 2 * tonumber(ARGV[2])
for i = 3, leases_from - 1, 2 do redis.call('HSET', q .. ':workers', ARGV[i], ARGV[i + 1]) end
local outcomes = {}
for i = leases_from, #ARGV, 2 do
  local f = redis.call('HMGET', task_key(ARGV[i]), 'status', 'epoch', 'cancel')
  if f[1] ~= 'processing' or f[2] ~= ARGV[i + 1] then
    outcomes[#outcomes + 1] = 0
  else
    redis.call('ZADD', q .. ':leases', 'XX', ARGV[1], ARGV[i])
    outcomes[#outcomes + 1] = f[3] and 2 or 1
  end
end
return outcomes
