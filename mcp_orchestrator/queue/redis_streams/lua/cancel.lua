-- Cancel a task. ARGV: id, now, when to forget it, event.
local now, expires, event = ARGV[2], ARGV[3], ARGV[4]
local f = load(ARGV[1])
if not f or is_marked(f, 'c') then return 0 end
if not (f.status == 'pending' or f.status == 'scheduled' or f.status == 'processing') then return 0 end
mark(f, 'c')
remember(f, event)
if f.status == 'processing' then
  redis.call('RPUSH', q .. ':control:' .. f.worker, f.id)
  redis.call('EXPIRE', q .. ':control:' .. f.worker, LIST_SECONDS)
else
  redis.call('ZREM', q .. ':delayed', f.id)
  unpark(f.id, f.kind, f.priority)
  redis.call('XDEL', q .. ':stream:' .. f.priority, f.order .. '-0')
  finish(f, 'cancelled', now, expires)
end
save(f)
return 1
