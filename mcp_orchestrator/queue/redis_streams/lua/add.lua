-- Add tasks, all or none. ARGV: longest queue (0 for no bound), number of tasks, then runs of them: type,
-- priority, number, then the spec of each. The type is '' where the specs are to be read: tasks that
-- are delayed or have a key. Returns for each the id of the task that holds its key, or '' when it
-- was added; nothing when all were.
-- An id that exists already is a repeated call after a broken connection: it counts as added.
local ID_FROM, ID_TO = 3, 39 -- where a spec has its id, which spares reading the JSON
local limit, count = tonumber(ARGV[1]), tonumber(ARGV[2])
if limit > 0 then
  local waiting = redis.call('ZCARD', q .. ':delayed')
  for _, priority in ipairs(PRIORITIES) do
    waiting = waiting + redis.call('XLEN', q .. ':stream:' .. priority)
  end
  for _, head in ipairs(redis.call('SMEMBERS', q .. ':heads')) do
    waiting = waiting + redis.call('ZCARD', q .. ':head:' .. head)
  end
  if waiting + count > limit then return redis.error_reply('QUEUEFULL') end
end

local order = redis.call('INCRBY', q .. ':sequence', count) - count
local writes, index, kinds = {}, {}, {}
local outcomes, place, any_held = {}, 0, false

local function add_plain(id, spec, kind, priority)
  append(id, kind, priority, order)
  writes[#writes + 1] = spec_key(id)
  writes[#writes + 1] = spec
  index[#index + 1] = order
  index[#index + 1] = id
  kinds[kind] = true
end

local function add_special(id, spec)
  local header = header_of(spec)
  local kind, priority, unique, delayed = header[KIND], header[PRIORITY], header[UNIQUE], header[DELAYED]
  local frees_key = false
  if unique ~= cjson.null then
    local holder = redis.call('GET', q .. ':unique:' .. unique)
    if holder and holder ~= id then
      outcomes[place], any_held = holder, true
      return
    end
    redis.call('SET', q .. ':unique:' .. unique, id)
    frees_key = string.sub(unique, -3) == ',1]'
  end
  if delayed then redis.call('ZADD', q .. ':delayed', header[DUE], id) else append(id, kind, priority, order) end
  if delayed or frees_key then
    save({id = id, status = delayed and 'scheduled' or 'pending', epoch = '0', marks = frees_key and 'u' or '',
      kind = kind, priority = priority, order = order, attempt = '0', due = '', started = '', worker = ''})
  end
  redis.call('SET', spec_key(id), spec)
  redis.call('ZADD', q .. ':index', order, id)
  kinds[kind] = true
end

local keys = {}
local first = 3
while first <= #ARGV do
  local length = tonumber(ARGV[first + 2])
  for i = first + 3, first + 2 + length do keys[#keys + 1] = spec_key(string.sub(ARGV[i], ID_FROM, ID_TO)) end
  first = first + 3 + length
end
local any_exists = redis.call('EXISTS', unpack(keys)) > 0

first = 3
while first <= #ARGV do
  local kind, priority, length = ARGV[first], ARGV[first + 1], tonumber(ARGV[first + 2])
  for i = first + 3, first + 2 + length do
    local spec = ARGV[i]
    local id = string.sub(spec, ID_FROM, ID_TO)
    order, place = order + 1, place + 1
    outcomes[place] = ''
    if not (any_exists and redis.call('EXISTS', keys[place]) == 1) then
      if kind == '' then add_special(id, spec) else add_plain(id, spec, kind, priority) end
    end
  end
  first = first + 3 + length
end
if #writes > 0 then
  redis.call('MSET', unpack(writes))
  redis.call('ZADD', q .. ':index', unpack(index))
end
for kind in pairs(kinds) do ring(kind) end
return any_held and outcomes or {}
