-- Give a dead letter or failed task all its attempts again. ARGV: id, now, event.
local f = load(ARGV[1])
if not f or not (f.status == 'dead_letter' or f.status == 'failed') then return 0 end
redis.call('HINCRBY', q .. ':counts', f.status, -1)
redis.call('ZREM', q .. ':finished', f.id)
redis.call('ZREM', q .. ':dead', f.id)
f.attempt, f.due, f.finished, f.result = '0', ARGV[2], nil, nil
f.marks = string.gsub(f.marks, 'c', '')
remember(f, ARGV[3])
enqueue(f)
save(f)
return 1
