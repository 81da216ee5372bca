-- What every script shares. All keys begin with KEYS[1], whose hash tag keeps them in one slot.
--
--   :spec:<id>                 string what never changes: a JSON array, a line break, a comma, the payload
--   :task:<id>                 string where the task stands, one field a line (see FIELDS); a task that has
--                                     only been added has none, so most tasks are added by one write
--   :more:<id>                 hash   what few tasks have: error, history, progress, waiters
--   :stream:<priority>         stream ready tasks; an entry's id is the order, its field the type, its value
--                                     the task's id; it leaves the stream when it is handed out
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
--   :limits  :running          hashes what bounds a type (see limit_numbers); how many run
--   :starts:<type>             zset   starts of a type with a rate, by their moment
--   :paused  :workers  :sequence
local q = KEYS[1]
local PRIORITIES = {'100', '75', '50', '25'}
local LIST_SECONDS = 60
-- The lines of :task:<id>. Marks: 'c' cancellation asked for, 'u' its key is free again at its end,
-- 'm' there is something in :more. An empty due is that of the spec. The last two only at its end.
local FIELDS = {'status', 'epoch', 'marks', 'kind', 'priority', 'order', 'attempt', 'due', 'started', 'worker',
  'finished', 'result'}
-- The places in the spec's array.
local ID, KIND, PRIORITY, RETRIES, OWNER, DUE, UNIQUE, DELAYED = 1, 2, 3, 4, 7, 9, 11, 12

local function task_key(id) return q .. ':task:' .. id end
local function spec_key(id) return q .. ':spec:' .. id end
local function header_of(spec) return cjson.decode(string.match(spec, '^[^\n]*')) end

local function ring(kind)
  for _, bell in ipairs({q .. ':bell:' .. kind, q .. ':bells'}) do
    if redis.call('LLEN', bell) == 0 then redis.call('RPUSH', bell, '1') end
  end
end

local function save(f)
  local lines = {}
  for place, name in ipairs(FIELDS) do
    if f[name] == nil then break end
    lines[place] = f[name]
  end
  redis.call('SET', task_key(f.id), table.concat(lines, '\n'))
end

local function append(id, kind, priority, order)
  redis.call('XADD', q .. ':stream:' .. priority, order .. '-0', kind, id)
end
