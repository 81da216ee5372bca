-- Count. ARGV: now. Returns one JSON text.
local by_priority = {}
for _, priority in ipairs(PRIORITIES) do
  local stream = q .. ':stream:' .. priority
  local waiting, oldest = redis.call('XLEN', stream)
  local function consider(id)
    local f = id and load(id)
    if not f then return end
    local due = f.due ~= '' and tonumber(f.due) or f.header[DUE]
    if not oldest or due < oldest then oldest = due end
  end
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  consider(first and first[2][2])
  for _, head in ipairs(redis.call('SMEMBERS', q .. ':heads')) do
    if string.match(head, '^(%d+):') == priority then
      waiting = waiting + redis.call('ZCARD', q .. ':head:' .. head)
      consider(redis.call('ZRANGE', q .. ':head:' .. head, 0, 0)[1])
    end
  end
  by_priority[#by_priority + 1] = {priority, waiting, oldest and string.format('%.0f', oldest) or ''}
end
local limited, limits = redis.call('HGETALL', q .. ':limits'), {}
for i = 1, #limited, 2 do
  local kind, text = limited[i], limited[i + 1]
  local _, starts, span = limit_numbers(text)
  local running = tonumber(redis.call('HGET', q .. ':running', kind) or '0')
  local started = starts and redis.call('ZCOUNT', q .. ':starts:' .. kind, string.format('(%.0f', ARGV[1] - span), '+inf')
  limits[#limits + 1] = {kind, text, running, started or 0}
end
return cjson.encode({
  by_priority = by_priority,
  scheduled = redis.call('ZCARD', q .. ':delayed'),
  processing = redis.call('ZCARD', q .. ':leases'),
  finished = redis.call('HGETALL', q .. ':counts'),
  workers = redis.call('HVALS', q .. ':workers'),
  paused = redis.call('SMEMBERS', q .. ':paused'),
  limits = limits,
})
