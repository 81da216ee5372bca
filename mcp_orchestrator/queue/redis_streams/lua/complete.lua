-- Record results; settle.lua for the one end that nearly every delivery has. ARGV: now, when to forget
-- the tasks, then for each id, epoch, result ('' for null). Returns the places, counted from 0, of those
-- whose holder is late. What is already so under the same lease is accepted, so that a caller whose
-- connection broke may say it again.
local now, expires = ARGV[1], ARGV[2]
local keys, late, ended, expiries, texts, stopped, done = {}, {}, {}, {}, {}, {}, {}
for i = 3, #ARGV, 3 do keys[#keys + 1] = task_key(ARGV[i]) end
local held = redis.call('MGET', unpack(keys))
for place, text in ipairs(held) do
  local id, epoch, result = ARGV[3 * place], ARGV[3 * place + 1], ARGV[3 * place + 2]
  local expected = 'processing\n' .. epoch .. '\n'
  if not done[id] and text and string.sub(text, 1, #expected) == expected then
    local marks, kind = string.match(text, '^(%a*)\n([^\n]*)', #expected + 1)
    if marks ~= '' then
      local f = load(id)
      set_error(f, nil)
      wake(f)
      if is_marked(f, 'u') then free_key(id, f.header[UNIQUE]) end
    end
    texts[#texts + 1] = keys[place]
    texts[#texts + 1] = 'completed' .. string.sub(text, 11) .. '\n' .. now .. '\n' .. result
    done[id] = epoch
    ended[#ended + 1] = id
    expiries[#expiries + 1] = expires
    expiries[#expiries + 1] = id
    stopped[kind] = (stopped[kind] or 0) + 1
  elseif done[id] ~= epoch then
    expected = 'completed\n' .. epoch .. '\n'
    if not text or string.sub(text, 1, #expected) ~= expected then late[#late + 1] = place - 1 end
  end
end
if #ended > 0 then
  redis.call('MSET', unpack(texts))
  redis.call('ZREM', q .. ':leases', unpack(ended))
  redis.call('ZADD', q .. ':finished', unpack(expiries))
  redis.call('HINCRBY', q .. ':counts', 'completed', #ended)
  for kind, count in pairs(stopped) do stop_running(kind, count) end
end
forget_expired(now, 2 * #keys)
return late
