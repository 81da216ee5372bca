-- What every script shares. All keys begin with KEYS[1], whose hash tag keeps them in one slot.
--
--   :task:<id>                 hash   the task
--   :stream:<priority>         stream ready tasks, in order; entries carry id (i), type (k), order (s)
--   :head:<priority>:<type>    zset   ready tasks older than what the stream has yet to deliver:
--                                     taken back, or of a type that the reader did not handle
--   :heads                     set    which of those exist
--   :delayed  :leases          zsets  by the moment they are due, or end
--   :index  :finished  :dead   zsets  by order added; by the moment to forget them; by moment of death
--   :unique:<key>              string the task that holds an idempotency key
--   :bell:<type>  :bells       lists  one token wakes one idle worker
--   :control:<worker>          list   tasks that this worker is to stop
--   :woken:<waiter>            list   tasks that have ended, for one waiting process
--   :counts                    hash   finished tasks by status
--   :limits  :running          hashes the most that may run of a type; how many do
--   :paused  :workers  :sequence
local q = KEYS[1]
local GROUP, CONSUMER = 'workers', 'workers'
local PRIORITIES = {'100', '75', '50', '25'}
local LIST_SECONDS = 60

local function task_key(id) return q .. ':task:' .. id end

local function ring(kind)
  for _, bell in ipairs({q .. ':bell:' .. kind, q .. ':bells'}) do
    if redis.call('LLEN', bell) == 0 then redis.call('RPUSH', bell, '1') end
  end
end

local function park(id, kind, priority, order)
  redis.call('ZADD', q .. ':head:' .. priority .. ':' .. kind, order, id)
  redis.call('SADD', q .. ':heads', priority .. ':' .. kind)
end

local function unpark(id, kind, priority)
  local head = q .. ':head:' .. priority .. ':' .. kind
  local removed = redis.call('ZREM', head, id)
  if redis.call('EXISTS', head) == 0 then redis.call('SREM', q .. ':heads', priority .. ':' .. kind) end
  return removed
end

local function leave_stream(priority, entry, ...)
  if entry and entry ~= '' then
    redis.call('XACK', q .. ':stream:' .. priority, GROUP, entry, ...)
    redis.call('XDEL', q .. ':stream:' .. priority, entry, ...)
  end
end

local function append(id, kind, priority, order)
  return redis.call('XADD', q .. ':stream:' .. priority, '*', 'i', id, 'k', kind, 's', order)
end

local function enqueue(id, kind, priority, order)
  local entry = append(id, kind, priority, order)
  redis.call('HSET', task_key(id), 'status', 'pending', 'entry', entry, 'order', order)
  ring(kind)
end

local function stop_running(kind, count)
  redis.call('HINCRBY', q .. ':running', kind, -(count or 1))
  if redis.call('HEXISTS', q .. ':limits', kind) == 1 then ring(kind) end
end

local function remember(id, event)
  if event == '' then return end
  local history = redis.call('HGET', task_key(id), 'history')
  if history then event = string.sub(history, 2, -2) .. ',' .. event end
  redis.call('HSET', task_key(id), 'history', '[' .. event .. ']')
end

-- A key that was to be unique only while its task had not ended is marked by its end.
local function free_key(id, unique)
  if unique and string.sub(unique, -3) == ',1]' and redis.call('GET', q .. ':unique:' .. unique) == id then
    redis.call('DEL', q .. ':unique:' .. unique)
  end
end

local function finish(id, status, now, expires)
  free_key(id, redis.call('HGET', task_key(id), 'unique'))
  redis.call('HSET', task_key(id), 'status', status, 'finished', now)
  redis.call('ZADD', q .. ':finished', expires, id)
  redis.call('HINCRBY', q .. ':counts', status, 1)
  if status == 'dead_letter' then redis.call('ZADD', q .. ':dead', now, id) end
end

local function wake(id, waiters)
  if not waiters then return end
  for waiter in string.gmatch(waiters, '%S+') do
    redis.call('RPUSH', q .. ':woken:' .. waiter, id)
    redis.call('EXPIRE', q .. ':woken:' .. waiter, LIST_SECONDS)
  end
  redis.call('HDEL', task_key(id), 'waiters')
end

local function forget(id)
  local f = redis.call('HMGET', task_key(id), 'unique', 'status')
  local unique = f[1]
  if f[2] then redis.call('HINCRBY', q .. ':counts', f[2], -1) end
  if unique and redis.call('GET', q .. ':unique:' .. unique) == id then
    redis.call('DEL', q .. ':unique:' .. unique)
  end
  redis.call('DEL', task_key(id))
  redis.call('ZREM', q .. ':index', id)
  redis.call('ZREM', q .. ':finished', id)
  redis.call('ZREM', q .. ':dead', id)
end

local function forget_expired(now, count)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', q .. ':finished', '-inf', now, 'LIMIT', 0, count)) do
    forget(id)
  end
end

-- What a stream has yet to deliver: how much, and the first entry.
local function undelivered(priority)
  local stream = q .. ':stream:' .. priority
  local count, after = redis.call('XLEN', stream), '-'
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if not groups.err then
    for _, group in ipairs(groups) do
      for i = 1, #group, 2 do
        if group[i] == 'pending' then count = count - group[i + 1] end
        if group[i] == 'last-delivered-id' then after = '(' .. group[i + 1] end
      end
    end
  end
  return count, redis.call('XRANGE', stream, after, '+', 'COUNT', 1)[1]
end
