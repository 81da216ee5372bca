-- Add tasks, all or none. ARGV: longest queue (0 for no bound), then for each task its spec and a
-- JSON array: id, type, priority, due (microseconds), '1' if delayed, unique key, max_retries, owner
-- as JSON. (The client spends more on each argument than the server on reading an array.)
-- Returns for each the id of the task that holds its key, or '' when it was added.
-- An id that exists already is a repeated call after a broken connection: it counts as added.
local STRIDE = 2
local limit = tonumber(ARGV[1])
if limit > 0 then
  local waiting = redis.call('ZCARD', q .. ':delayed')
  for _, priority in ipairs(PRIORITIES) do
    waiting = waiting + undelivered(priority)
  end
  for _, head in ipairs(redis.call('SMEMBERS', q .. ':heads')) do
    waiting = waiting + redis.call('ZCARD', q .. ':head:' .. head)
  end
  if waiting + (#ARGV - 1) / STRIDE > limit then return redis.error_reply('QUEUEFULL') end
end
local SLICE = 1000
local outcomes, index, kinds = {}, {}, {}
local order = redis.call('INCRBY', q .. ':sequence', (#ARGV - 1) / STRIDE) - (#ARGV - 1) / STRIDE
for i = 2, #ARGV, STRIDE do
  local id, kind, priority, due, delayed, unique, retries, owner = unpack(cjson.decode(ARGV[i + 1]))
  local key = task_key(id)
  local holder = unique ~= '' and redis.call('GET', q .. ':unique:' .. unique)
  order = order + 1
  if holder and holder ~= id then
    outcomes[#outcomes + 1] = holder
  else
    outcomes[#outcomes + 1] = ''
    if redis.call('EXISTS', key) == 0 then
      local status, entry = 'pending', ''
      if delayed == '1' then
        status = 'scheduled'
        redis.call('ZADD', q .. ':delayed', due, id)
      else
        entry = append(id, kind, priority, order)
      end
      redis.call('HSET', key, 'spec', ARGV[i], 'kind', kind, 'priority', priority, 'due', due, 'max', retries,
        'owner', owner, 'attempt', 0, 'epoch', 0, 'order', order, 'entry', entry, 'status', status)
      if unique ~= '' then
        redis.call('SET', q .. ':unique:' .. unique, id)
        redis.call('HSET', key, 'unique', unique)
      end
      index[#index + 1] = order
      index[#index + 1] = id
      kinds[kind] = true
    end
  end
end
for first = 1, #index, SLICE do
  redis.call('ZADD', q .. ':index', unpack(index, first, math.min(first + SLICE - 1, #index)))
end
for kind in pairs(kinds) do ring(kind) end
return outcomes
