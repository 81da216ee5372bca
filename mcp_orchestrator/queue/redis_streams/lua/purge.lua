-- Forget dead letters. ARGV: a type, or '' for all.
local purged = 0
for _, id in ipairs(redis.call('ZRANGE', q .. ':dead', 0, -1)) do
  local f = ARGV[1] ~= '' and load(id)
  if not f or f.kind == ARGV[1] then
    forget(id)
    purged = purged + 1
  end
end
return purged
