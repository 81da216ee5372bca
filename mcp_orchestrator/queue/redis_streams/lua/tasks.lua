-- Reading tasks and moving them on: what every script but the briefest shares, after library.lua.
local function more_key(id) return q .. ':more:' .. id end

-- Return the fields of a task's text. The ones that the text does not have are nil.
local function parse(id, text)
  local f, place = {id = id}, 0
  for value in string.gmatch(text .. '\n', '([^\n]*)\n') do
    place = place + 1
    f[FIELDS[place]] = value
  end
  return f
end

-- Return a task as a table, or nil where there is none.
local function load(id)
  local found = redis.call('MGET', task_key(id), spec_key(id))
  if not found[2] then return nil end
  local header = header_of(found[2])
  local f = found[1] and parse(id, found[1]) or {
    id = id, status = 'pending', epoch = '0', marks = '', kind = header[KIND], priority = tostring(header[PRIORITY]),
    order = redis.call('ZSCORE', q .. ':index', id), attempt = '0', due = '', started = '', worker = '',
  }
  f.header = header
  return f
end

local function is_marked(f, mark) return string.find(f.marks, mark, 1, true) ~= nil end

local function mark(f, letter)
  if not is_marked(f, letter) then f.marks = f.marks .. letter end
end

local function set_error(f, text)
  if text then
    redis.call('HSET', more_key(f.id), 'error', text)
    mark(f, 'm')
  elseif is_marked(f, 'm') then
    redis.call('HDEL', more_key(f.id), 'error')
  end
end

local function remember(f, event)
  if event == '' then return end
  local history = redis.call('HGET', more_key(f.id), 'history')
  if history then event = string.sub(history, 2, -2) .. ',' .. event end
  redis.call('HSET', more_key(f.id), 'history', '[' .. event .. ']')
  mark(f, 'm')
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

local function enqueue(f)
  f.status, f.order = 'pending', redis.call('INCR', q .. ':sequence')
  append(f.id, f.kind, f.priority, f.order)
  ring(f.kind)
end

local function stop_running(kind, count)
  redis.call('HINCRBY', q .. ':running', kind, -(count or 1))
  if redis.call('HEXISTS', q .. ':limits', kind) == 1 then ring(kind) end
end

-- A limit is three words, each '-' for none: how many run at once, how many start in a span, the span.
local function limit_numbers(text)
  local concurrency, starts, span = string.match(text, '(%S+) (%S+) (%S+)')
  return tonumber(concurrency), tonumber(starts), tonumber(span)
end

local function free_key(id, unique)
  if redis.call('GET', q .. ':unique:' .. unique) == id then redis.call('DEL', q .. ':unique:' .. unique) end
end

local function wake(f)
  if not is_marked(f, 'm') then return end
  local waiters = redis.call('HGET', more_key(f.id), 'waiters')
  if not waiters then return end
  for waiter in string.gmatch(waiters, '%S+') do
    redis.call('RPUSH', q .. ':woken:' .. waiter, f.id)
    redis.call('EXPIRE', q .. ':woken:' .. waiter, LIST_SECONDS)
  end
  redis.call('HDEL', more_key(f.id), 'waiters')
end

-- End a task; the caller saves it.
local function finish(f, status, now, expires)
  f.status, f.finished = status, now
  if is_marked(f, 'u') then free_key(f.id, f.header[UNIQUE]) end
  redis.call('ZADD', q .. ':finished', expires, f.id)
  redis.call('HINCRBY', q .. ':counts', status, 1)
  if status == 'dead_letter' then redis.call('ZADD', q .. ':dead', now, f.id) end
  wake(f)
end

local function forget(id)
  local f = load(id)
  if f then
    redis.call('HINCRBY', q .. ':counts', f.status, -1)
    if f.header[UNIQUE] ~= cjson.null then free_key(id, f.header[UNIQUE]) end
  end
  redis.call('DEL', task_key(id), spec_key(id), more_key(id))
  redis.call('ZREM', q .. ':index', id)
  redis.call('ZREM', q .. ':finished', id)
  redis.call('ZREM', q .. ':dead', id)
end

local function forget_expired(now, count)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', q .. ':finished', '-inf', now, 'LIMIT', 0, count)) do
    forget(id)
  end
end
