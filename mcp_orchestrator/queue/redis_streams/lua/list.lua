-- List tasks, newest first. ARGV: status, type, owner (each '' for any; the owner as JSON), id before
-- the page, number. Returns for each what get.lua does.
local status, kind, owner, before, wanted = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local PAGE = 200
if owner ~= '' then owner = cjson.decode('[' .. owner .. ']')[1] end
local position, found = 0, {}
if before ~= '' then
  local rank = redis.call('ZREVRANK', q .. ':index', before)
  if not rank then return {} end
  position = rank + 1
end
while #found < wanted do
  local ids = redis.call('ZREVRANGE', q .. ':index', position, position + PAGE - 1)
  if #ids == 0 then break end
  position = position + #ids
  local keys = {}
  for _, id in ipairs(ids) do
    keys[#keys + 1] = spec_key(id)
    keys[#keys + 1] = task_key(id)
  end
  local texts = redis.call('MGET', unpack(keys))
  for place, id in ipairs(ids) do
    local spec, text = texts[2 * place - 1], texts[2 * place]
    local stands = text and string.match(text, '^[^\n]*') or 'pending'
    if #found < wanted and spec and (status == '' or stands == status) then
      local header = (kind ~= '' or owner ~= '') and header_of(spec)
      if (kind == '' or header[KIND] == kind) and (owner == '' or header[OWNER] == owner) then
        found[#found + 1] = {spec, text, redis.call('HGETALL', more_key(id))}
      end
    end
  end
end
return found
