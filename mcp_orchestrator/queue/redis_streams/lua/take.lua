-- Hand out ready tasks. ARGV: now, lease end, when a task that dies now is forgotten, worker, count,
-- fair slots, least priority, then the types it handles (none: every type).
-- Returns the deliveries as one JSON text, the next moment at which something is due, and whether
-- more may be had at once.
local LARGEST_SWEEP, LARGEST_LOOK = 200, 1000
local now, lease_until, expires, worker = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local count, fair_slots, least = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local any_type, wanted, paused = #ARGV < 8, {}, {}
for i = 8, #ARGV do wanted[ARGV[i]] = true end
for _, name in ipairs(redis.call('SMEMBERS', q .. ':paused')) do paused[name] = true end

-- For each limited type how many more may run, how many more may start, and in what span.
local room_of, starts_of, span_of = {}, {}, {}
local limits = redis.call('HGETALL', q .. ':limits')
for i = 1, #limits, 2 do
  local kind = limits[i]
  local concurrency, starts, span = limit_numbers(limits[i + 1])
  if concurrency then
    room_of[kind] = concurrency - tonumber(redis.call('HGET', q .. ':running', kind) or '0')
  end
  if starts then
    local key = q .. ':starts:' .. kind
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - span))
    starts_of[kind], span_of[kind] = starts - redis.call('ZCARD', key), span
  end
end

local function allowed(kind)
  return (any_type or wanted[kind]) and not paused['type:' .. kind] and (room_of[kind] or 1) > 0
    and (starts_of[kind] or 1) > 0
end

local function make_room(kind, by)
  if room_of[kind] then room_of[kind] = room_of[kind] + by end
end

local function recover(id)
  redis.call('ZREM', q .. ':leases', id)
  local f = load(id)
  if not f then return end
  stop_running(f.kind)
  make_room(f.kind, 1)
  remember(f, '{"at":' .. now .. ',"kind":"worker_lost","attempt":' .. f.attempt .. ',"worker":' .. f.worker
    .. ',"detail":null}')
  if is_marked(f, 'c') then
    finish(f, 'cancelled', now, expires)
  else
    set_error(f, 'The worker ' .. cjson.decode('[' .. f.worker .. ']')[1] .. ' stopped renewing its lease.')
    if tonumber(f.attempt) <= f.header[RETRIES] then
      f.status = 'pending'
      park(id, f.kind, f.priority, f.order)
      ring(f.kind)
    else
      finish(f, 'dead_letter', now, expires)
    end
  end
  save(f)
end

-- What has been chosen: ids, and for each its type, priority and order.
local chosen, kinds, priorities, orders = {}, {}, {}, {}

local function choose(id, kind, priority, order)
  local place = #chosen + 1
  chosen[place], kinds[place], priorities[place], orders[place] = id, kind, priority, order
  make_room(kind, -1)
  if starts_of[kind] then starts_of[kind] = starts_of[kind] - 1 end
end

local function remember_start(kind, id, epoch)
  local key = q .. ':starts:' .. kind
  redis.call('ZADD', key, now, id .. ':' .. epoch)
  redis.call('EXPIRE', key, LIST_SECONDS + math.ceil(2 * span_of[kind] / 1e6))
end

local heads = {}

local function first_parked(priority)
  local best_id, best_order, best_kind
  for _, kind in ipairs(heads[priority] or {}) do
    if allowed(kind) then
      local top = redis.call('ZRANGE', q .. ':head:' .. priority .. ':' .. kind, 0, 0, 'WITHSCORES')
      if top[1] and (not best_order or tonumber(top[2]) < best_order) then
        best_id, best_order, best_kind = top[1], tonumber(top[2]), kind
      end
    end
  end
  return best_id, best_order, best_kind
end

local function order_of(entry) return tonumber(string.match(entry[1], '^%d+')) end

local function choose_from(priority, room)
  local before, looked, stream = #chosen, 0, q .. ':stream:' .. priority
  while #chosen - before < room do
    local id, order, kind = first_parked(priority)
    if not id then break end
    unpark(id, kind, priority)
    choose(id, kind, priority, order)
  end
  while #chosen - before < room and looked < LARGEST_LOOK do
    local asked = room - (#chosen - before)
    local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', asked)
    for _, entry in ipairs(entries) do
      local kind, id = entry[2][1], entry[2][2]
      if allowed(kind) then
        choose(id, kind, priority, order_of(entry))
      else
        park(id, kind, priority, order_of(entry))
      end
    end
    if #entries > 0 then redis.call('XTRIM', stream, 'MINID', order_of(entries[#entries]) + 1) end
    looked = looked + #entries
    if #entries < asked then break end
  end
  return looked >= LARGEST_LOOK
end

local function oldest_order(priority)
  local _, order = first_parked(priority)
  local entry = redis.call('XRANGE', q .. ':stream:' .. priority, '-', '+', 'COUNT', 1)[1]
  local waiting = entry and order_of(entry)
  if order and waiting then return math.min(order, waiting) end
  return order or waiting
end

local function choose_fair()
  local most_urgent, longest_waiting, least_order
  for _, priority in ipairs(PRIORITIES) do
    local order = not paused['priority:' .. priority] and oldest_order(priority)
    if order and not most_urgent then
      most_urgent = priority
    elseif order and (not least_order or order < least_order) then
      longest_waiting, least_order = priority, order
    end
  end
  if longest_waiting then choose_from(longest_waiting, 1) end
  return longest_waiting
end

-- Lease what has been chosen. Returns the deliveries as JSON texts.
local function lease_chosen()
  local keys, out, leases, texts, started = {}, {}, {}, {}, {}
  for place, id in ipairs(chosen) do
    keys[2 * place - 1], keys[2 * place] = task_key(id), spec_key(id)
  end
  local found = redis.call('MGET', unpack(keys))
  local first = '1\n\n' .. now .. '\n' .. worker
  for place, id in ipairs(chosen) do
    local text, spec, kind = found[2 * place - 1], found[2 * place], kinds[place]
    local given, epoch
    if spec and not text then
      text = 'processing\n1\n\n' .. kind .. '\n' .. priorities[place] .. '\n' .. orders[place] .. '\n' .. first
      epoch = 1
      given = '[1,1,null,null,[],' .. spec .. ']'
    elseif spec then
      local f = parse(id, text)
      if f.status == 'pending' then
        f.status, f.epoch, f.attempt, f.started, f.worker = 'processing', f.epoch + 1, f.attempt + 1, now, worker
        f.order = orders[place]
        local more = is_marked(f, 'm') and redis.call('HMGET', more_key(id), 'error', 'history') or {}
        text = table.concat({f.status, f.epoch, f.marks, kind, f.priority, f.order, f.attempt, f.due, now, worker}, '\n')
        epoch = f.epoch
        given = '[' .. f.epoch .. ',' .. f.attempt .. ',' .. (f.due ~= '' and f.due or 'null') .. ','
          .. (more[1] and cjson.encode(more[1]) or 'null') .. ',' .. (more[2] or '[]') .. ',' .. spec .. ']'
      end
    end
    if given then
      out[#out + 1] = given
      texts[#texts + 1] = keys[2 * place - 1]
      texts[#texts + 1] = text
      leases[#leases + 1] = lease_until
      leases[#leases + 1] = id
      started[kind] = (started[kind] or 0) + 1
      if span_of[kind] then remember_start(kind, id, epoch) end
    end
  end
  if #out > 0 then
    redis.call('MSET', unpack(texts))
    redis.call('ZADD', q .. ':leases', unpack(leases))
  end
  for kind, many in pairs(started) do
    redis.call('HINCRBY', q .. ':running', kind, many)
    if #chosen == count then ring(kind) end
  end
  return out
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', q .. ':leases', '-inf', now, 'LIMIT', 0, LARGEST_SWEEP)) do
  recover(id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', q .. ':delayed', '-inf', now, 'LIMIT', 0, LARGEST_SWEEP)) do
  redis.call('ZREM', q .. ':delayed', id)
  local f = load(id)
  if f then
    enqueue(f)
    save(f)
  end
end
forget_expired(now, 20)
for _, head in ipairs(redis.call('SMEMBERS', q .. ':heads')) do
  local priority, kind = string.match(head, '^(%d+):(.*)$')
  heads[priority] = heads[priority] or {}
  table.insert(heads[priority], kind)
end

local more = 0
for _ = 1, fair_slots do
  if not choose_fair() then break end
end
for _, priority in ipairs(PRIORITIES) do
  if #chosen < count and tonumber(priority) >= least and not paused['priority:' .. priority] then
    if choose_from(priority, count - #chosen) then more = 1 end
  end
end
local out = #chosen > 0 and lease_chosen() or {}
if #out < #chosen then more = 1 end
local due = ''
local function consider(key, later)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first and (due == '' or first + later < tonumber(due)) then due = string.format('%.0f', first + later) end
end
if #out == 0 then
  consider(q .. ':delayed', 0)
  consider(q .. ':leases', 0)
  for kind, span in pairs(span_of) do
    if starts_of[kind] <= 0 and (any_type or wanted[kind]) then consider(q .. ':starts:' .. kind, span) end
  end
end
return {'[' .. table.concat(out, ',') .. ']', due, more}
