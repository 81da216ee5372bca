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

local room_of = {}
local limits = redis.call('HGETALL', q .. ':limits')
for i = 1, #limits, 2 do
  room_of[limits[i]] = tonumber(limits[i + 1]) - tonumber(redis.call('HGET', q .. ':running', limits[i]) or '0')
end

local function allowed(kind)
  return (any_type or wanted[kind]) and not paused['type:' .. kind] and (room_of[kind] or 1) > 0
end

local function recover(id)
  local f = redis.call('HMGET', task_key(id), 'kind', 'priority', 'order', 'attempt', 'max', 'worker',
    'cancel', 'entry', 'waiters')
  redis.call('ZREM', q .. ':leases', id)
  if not f[1] then return end
  leave_stream(f[2], f[8])
  stop_running(f[1])
  if room_of[f[1]] then room_of[f[1]] = room_of[f[1]] + 1 end
  redis.call('HSET', task_key(id), 'entry', '')
  remember(id, '{"at":' .. now .. ',"kind":"worker_lost","attempt":' .. f[4] .. ',"worker":'
    .. cjson.encode(f[6]) .. ',"detail":null}')
  if f[7] then
    finish(id, 'cancelled', now, expires)
    wake(id, f[9])
    return
  end
  redis.call('HSET', task_key(id), 'error', 'The worker ' .. f[6] .. ' stopped renewing its lease.')
  if tonumber(f[4]) <= tonumber(f[5]) then
    redis.call('HSET', task_key(id), 'status', 'pending')
    park(id, f[1], f[2], f[3])
    ring(f[1])
  else
    finish(id, 'dead_letter', now, expires)
    wake(id, f[9])
  end
end

local out, leases, started = {}, {}, {}

local function lease(id, entry, priority, kind)
  local f = redis.call('HMGET', task_key(id), 'spec', 'attempt', 'epoch', 'due', 'status', 'error', 'history')
  if not f[1] or f[5] ~= 'pending' then
    leave_stream(priority, entry)
    return 0
  end
  local attempt, epoch = tonumber(f[2]) + 1, tonumber(f[3]) + 1
  redis.call('HSET', task_key(id), 'status', 'processing', 'attempt', attempt, 'epoch', epoch,
    'worker', worker, 'started', now, 'entry', entry)
  leases[#leases + 1] = lease_until
  leases[#leases + 1] = id
  started[kind] = (started[kind] or 0) + 1
  if room_of[kind] then room_of[kind] = room_of[kind] - 1 end
  out[#out + 1] = '{"spec":' .. f[1] .. ',"epoch":' .. epoch .. ',"attempt":' .. attempt .. ',"due":' .. f[4]
    .. ',"error":' .. (f[6] and cjson.encode(f[6]) or 'null') .. ',"history":' .. (f[7] or '[]') .. '}'
  return 1
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

local function read_stream(priority, room)
  local stream = q .. ':stream:' .. priority
  local ask = {'XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', room, 'STREAMS', stream, '>'}
  local reply = redis.pcall(unpack(ask))
  if reply and reply.err then
    if not string.find(reply.err, 'NOGROUP', 1, true) then error(reply.err) end
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    reply = redis.call(unpack(ask))
  end
  return reply and reply[1][2] or {}
end

local function take_from(priority, room)
  local taken, looked = 0, 0
  while taken < room do
    local id, _, kind = first_parked(priority)
    if not id then break end
    unpark(id, kind, priority)
    taken = taken + lease(id, '', priority, kind)
  end
  while taken < room and looked < LARGEST_LOOK do
    local asked = room - taken
    local entries = read_stream(priority, asked)
    for _, entry in ipairs(entries) do
      local id, kind, order = entry[2][2], entry[2][4], entry[2][6]
      if allowed(kind) then
        taken = taken + lease(id, entry[1], priority, kind)
      else
        leave_stream(priority, entry[1])
        redis.call('HSET', task_key(id), 'entry', '')
        park(id, kind, priority, order)
      end
    end
    looked = looked + #entries
    if #entries < asked then break end
  end
  return taken, looked >= LARGEST_LOOK
end

local function oldest_order(priority)
  local _, order = first_parked(priority)
  local _, entry = undelivered(priority)
  local waiting = entry and tonumber(entry[2][6])
  if order and waiting then return math.min(order, waiting) end
  return order or waiting
end

local function take_fair()
  local most_urgent, chosen, chosen_order
  for _, priority in ipairs(PRIORITIES) do
    local order = not paused['priority:' .. priority] and oldest_order(priority)
    if order and not most_urgent then
      most_urgent = priority
    elseif order and (not chosen_order or order < chosen_order) then
      chosen, chosen_order = priority, order
    end
  end
  return chosen and take_from(chosen, 1) or 0
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', q .. ':leases', '-inf', now, 'LIMIT', 0, LARGEST_SWEEP)) do
  recover(id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', q .. ':delayed', '-inf', now, 'LIMIT', 0, LARGEST_SWEEP)) do
  redis.call('ZREM', q .. ':delayed', id)
  local f = redis.call('HMGET', task_key(id), 'kind', 'priority')
  if f[1] then enqueue(id, f[1], f[2], redis.call('INCR', q .. ':sequence')) end
end
forget_expired(now, 20)
for _, head in ipairs(redis.call('SMEMBERS', q .. ':heads')) do
  local priority, kind = string.match(head, '^(%d+):(.*)$')
  heads[priority] = heads[priority] or {}
  table.insert(heads[priority], kind)
end

local taken, more = 0, 0
for _ = 1, fair_slots do
  local got = take_fair()
  if got == 0 then break end
  taken = taken + got
end
for _, priority in ipairs(PRIORITIES) do
  if taken < count and tonumber(priority) >= least and not paused['priority:' .. priority] then
    local got, unfinished = take_from(priority, count - taken)
    taken = taken + got
    if unfinished then more = 1 end
  end
end
if taken > 0 then redis.call('ZADD', q .. ':leases', unpack(leases)) end
for kind, many in pairs(started) do
  redis.call('HINCRBY', q .. ':running', kind, many)
  if taken == count then ring(kind) end
end
local due = ''
if taken == 0 then
  local delayed = redis.call('ZRANGE', q .. ':delayed', 0, 0, 'WITHSCORES')[2]
  local leased = redis.call('ZRANGE', q .. ':leases', 0, 0, 'WITHSCORES')[2]
  if delayed and leased then
    due = tonumber(delayed) < tonumber(leased) and delayed or leased
  else
    due = delayed or leased or ''
  end
end
return {'[' .. table.concat(out, ',') .. ']', due, more}
