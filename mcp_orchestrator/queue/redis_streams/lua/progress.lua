-- Keep what a running handler said last. ARGV: id, epoch, progress.
local f = redis.call('HMGET', task_key(ARGV[1]), 'status', 'epoch')
if f[1] ~= 'processing' or f[2] ~= ARGV[2] then return 0 end
redis.call('HSET', task_key(ARGV[1]), 'progress', ARGV[3])
return 1
