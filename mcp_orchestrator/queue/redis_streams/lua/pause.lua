-- Pause or resume. ARGV: name ('type:…' or 'priority:…'), '1' to pause.
if ARGV[2] == '1' then return redis.call('SADD', q .. ':paused', ARGV[1]) end
local resumed = redis.call('SREM', q .. ':paused', ARGV[1])
for _, head in ipairs(redis.call('SMEMBERS', q .. ':heads')) do ring(string.match(head, '^%d+:(.*)$')) end
return resumed
