-- Keep what a running handler said last. ARGV: id, epoch, progress.
local held = 'processing\n' .. ARGV[2] .. '\n'
if string.sub(redis.call('GET', task_key(ARGV[1])) or '', 1, #held) ~= held then return 0 end
redis.call('HSET', more_key(ARGV[1]), 'progress', ARGV[3])
return 1
