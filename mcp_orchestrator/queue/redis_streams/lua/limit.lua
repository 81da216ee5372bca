-- Bound how many tasks of a type run at once. ARGV: type, number, or '' for no bound.
if ARGV[2] == '' then
  redis.call('HDEL', q .. ':limits', ARGV[1])
else
  redis.call('HSET', q .. ':limits', ARGV[1], ARGV[2])
end
ring(ARGV[1])
return 1
