-- Record how deliveries ended, in whatever way. ARGV: now, then for each
-- id, epoch, status, when to forget it, error, due, event, '1' if the attempt counts.
-- Returns the places, counted from 0, of those whose holder is late. What is already so under the
-- same lease is accepted, so that a caller whose connection broke may say it again.
local STRIDE = 8
local now, late = ARGV[1], {}

local function settle(f, status, expires, err, due, event, counts)
  if is_marked(f, 'c') and (status == 'pending' or status == 'scheduled') then status = 'cancelled' end
  redis.call('ZREM', q .. ':leases', f.id)
  stop_running(f.kind)
  remember(f, event)
  set_error(f, err ~= '' and err or nil)
  if counts ~= '1' then f.attempt = f.attempt - 1 end
  if status == 'pending' then
    f.status = status
    park(f.id, f.kind, f.priority, f.order)
    ring(f.kind)
  elseif status == 'scheduled' then
    f.status, f.due = status, due
    redis.call('ZADD', q .. ':delayed', due, f.id)
    ring(f.kind)
  else
    finish(f, status, now, expires)
  end
  save(f)
end

for i = 2, #ARGV, STRIDE do
  local f, epoch, status = load(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  if f and f.epoch == epoch and f.status == 'processing' then
    settle(f, status, unpack(ARGV, i + 3, i + STRIDE - 1))
  elseif not (f and f.epoch == epoch and f.status == status) then
    late[#late + 1] = (i - 2) / STRIDE
  end
end
forget_expired(now, (#ARGV - 1) / STRIDE * 2)
return late
