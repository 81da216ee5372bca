-- Register a waiting process. ARGV: id, waiter. Returns 1 when it is to wait, 0 when the task has
-- ended or is unknown.
local f = load(ARGV[1])
if not f or not (f.status == 'pending' or f.status == 'scheduled' or f.status == 'processing') then return 0 end
local waiters = redis.call('HGET', more_key(f.id), 'waiters') or ''
if not string.find(' ' .. waiters .. ' ', ' ' .. ARGV[2] .. ' ', 1, true) then
  redis.call('HSET', more_key(f.id), 'waiters', waiters .. ' ' .. ARGV[2])
end
if not is_marked(f, 'm') then
  mark(f, 'm')
  save(f)
end
return 1
