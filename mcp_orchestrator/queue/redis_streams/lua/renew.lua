-- A heartbeat. ARGV: lease end, number of workers, for each id and description, then for each lease
-- id and epoch. Returns for each lease 1, 0 when it was lost, 2 when the task is to be cancelled.
local leases_from = 3 + 2 * tonumber(ARGV[2])
for i = 3, leases_from - 1, 2 do redis.call('HSET', q .. ':workers', ARGV[i], ARGV[i + 1]) end
local outcomes = {}
for i = leases_from, #ARGV, 2 do
  local held = 'processing\n' .. ARGV[i + 1] .. '\n'
  local text = redis.call('GET', task_key(ARGV[i])) or ''
  if string.sub(text, 1, #held) ~= held then
    outcomes[#outcomes + 1] = 0
  else
    redis.call('ZADD', q .. ':leases', 'XX', ARGV[1], ARGV[i])
    local marks = string.match(text, '^%a*', #held + 1)
    outcomes[#outcomes + 1] = string.find(marks, 'c', 1, true) and 2 or 1
  end
end
return outcomes
