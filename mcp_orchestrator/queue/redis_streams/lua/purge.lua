-- Forget dead letters. ARGV: a type, or '' for all.
local purged = 0
for _, id in ipairs(redis.call('ZRANGE', q .. ':dead', 0, -1)) do
  if ARGV[1] == '' or redis.call('HGET', task_key(id), 'kind') == ARGV[1] then
    forget(id)
    purged = purged + 1
  end
end
return purged
