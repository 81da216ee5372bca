-- Count. Returns one JSON text.
local by_priority = {}
for _, priority in ipairs(PRIORITIES) do
  local waiting, first = undelivered(priority)
  local oldest
  local function consider(id)
    local due = id and redis.call('HGET', task_key(id), 'due')
    if due and (not oldest or tonumber(due) < tonumber(oldest)) then oldest = due end
  end
  consider(first and first[2][2])
  for _, head in ipairs(redis.call('SMEMBERS', q .. ':heads')) do
    if string.match(head, '^(%d+):') == priority then
      waiting = waiting + redis.call('ZCARD', q .. ':head:' .. head)
      consider(redis.call('ZRANGE', q .. ':head:' .. head, 0, 0)[1])
    end
  end
  by_priority[#by_priority + 1] = {priority, waiting, oldest or ''}
end
return cjson.encode({
  by_priority = by_priority,
  scheduled = redis.call('ZCARD', q .. ':delayed'),
  processing = redis.call('ZCARD', q .. ':leases'),
  finished = redis.call('HGETALL', q .. ':counts'),
  workers = redis.call('HVALS', q .. ':workers'),
  paused = redis.call('SMEMBERS', q .. ':paused'),
})
