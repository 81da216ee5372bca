-- Record results; settle.lua for the one end that nearly every delivery has. ARGV: now, when to forget
-- the tasks, then for each id, epoch, result. Returns for each 1, or 0 when its holder is late.
local now, expires = ARGV[1], ARGV[2]
local outcomes, ended, expiries, entries, stopped = {}, {}, {}, {}, {}
for i = 3, #ARGV, 3 do
  local id = ARGV[i]
  local f = redis.call('HMGET', task_key(id), 'status', 'epoch', 'entry', 'priority', 'waiters', 'error',
    'kind', 'unique')
  if f[2] ~= ARGV[i + 1] then
    outcomes[#outcomes + 1] = 0
  elseif f[1] ~= 'processing' then
    outcomes[#outcomes + 1] = f[1] == 'completed' and 1 or 0
  else
    outcomes[#outcomes + 1] = 1
    redis.call('HSET', task_key(id), 'result', ARGV[i + 2], 'status', 'completed', 'finished', now, 'entry', '')
    ended[#ended + 1] = id
    expiries[#expiries + 1] = expires
    expiries[#expiries + 1] = id
    stopped[f[7]] = (stopped[f[7]] or 0) + 1
    if f[3] ~= '' then
      entries[f[4]] = entries[f[4]] or {}
      table.insert(entries[f[4]], f[3])
    end
    if f[6] then redis.call('HDEL', task_key(id), 'error') end
    free_key(id, f[8])
    wake(id, f[5])
  end
end
if #ended > 0 then
  redis.call('ZREM', q .. ':leases', unpack(ended))
  redis.call('ZADD', q .. ':finished', unpack(expiries))
  redis.call('HINCRBY', q .. ':counts', 'completed', #ended)
  for priority, list in pairs(entries) do leave_stream(priority, unpack(list)) end
  for kind, count in pairs(stopped) do stop_running(kind, count) end
end
forget_expired(now, 2 * #outcomes)
return outcomes
