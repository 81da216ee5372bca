-- Remove a worker that has stopped, and those silent since a moment. ARGV: id, moment.
redis.call('HDEL', q .. ':workers', ARGV[1])
local all = redis.call('HGETALL', q .. ':workers')
for i = 1, #all, 2 do
  if cjson.decode(all[i + 1]).seen < tonumber(ARGV[2]) then redis.call('HDEL', q .. ':workers', all[i]) end
end
return 1
