-- List tasks, newest first. ARGV: status, type, owner as JSON (each '' for any), id before the page,
-- number. Returns the tasks' hashes as one JSON text.
local status, kind, owner, before, wanted = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local position, found = 0, {}
if before ~= '' then
  local rank = redis.call('ZREVRANK', q .. ':index', before)
  if not rank then return '[]' end
  position = rank + 1
end
while #found < wanted do
  local ids = redis.call('ZREVRANGE', q .. ':index', position, position + 199)
  if #ids == 0 then break end
  position = position + #ids
  for _, id in ipairs(ids) do
    local f = redis.call('HMGET', task_key(id), 'status', 'kind', 'owner')
    if #found < wanted and f[1] and (status == '' or f[1] == status) and (kind == '' or f[2] == kind)
      and (owner == '' or f[3] == owner) then
      found[#found + 1] = redis.call('HGETALL', task_key(id))
    end
  end
end
if #found == 0 then return '[]' end
return cjson.encode(found)
