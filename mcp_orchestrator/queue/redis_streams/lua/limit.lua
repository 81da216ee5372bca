-- Bound how many tasks of a type run at once, and start in a span. ARGV: type, limit, or '' for none.
if ARGV[2] == '' then
  redis.call('HDEL', q .. ':limits', ARGV[1])
else
  redis.call('HSET', q .. ':limits', ARGV[1], ARGV[2])
end
local _, starts = limit_numbers(ARGV[2])
if not starts then redis.call('DEL', q .. ':starts:' .. ARGV[1]) end
ring(ARGV[1])
return 1
