-- Read a task. ARGV: id. Returns its spec, where it stands, and what more there is.
return {
  redis.call('GET', spec_key(ARGV[1])),
  redis.call('GET', task_key(ARGV[1])),
  redis.call('HGETALL', more_key(ARGV[1])),
}
