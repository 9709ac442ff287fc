#!lua name=greenroom1
-- All steps that must be atomic. Keys of one call are in one slot. Times come from callers, never from the server.
-- Errors: 'REFUSED' and the refused batches, divided by ';': 'FENCED i token', 'NONE i' (no stream), 'GAP i latest'.

local function refused(faults) return redis.error_reply('REFUSED ' .. table.concat(faults, ';')) end

-- Whether the caller may write for this user. A caller without a token may write only if no node has claimed the user.
local function owns(key, token)
  local have = redis.call('GET', key) or ''
  return have == token, have
end

local function number(value) return tonumber(value) or 0 end

-- keys: per batch: token, meta, lines, opened
-- args: again, generation, name, watchers w; w times: channel, header;
--       per batch: token, first, count, size, body, state, first ts, last ts, open (+, - or nothing), name, watchers
-- A watcher is named by its position in the list. It gets one message: its header, then the batches that it watches.
local WIDTH = 11
local function append(keys, args)
  local again, generation, watchers = args[1] == '1', args[2], tonumber(args[3])
  local base, count = 3 + 2 * watchers, #keys / 4
  local owner, latest, faults, bad, todo = {}, {}, {}, {}, {}
  for i = 0, count - 1 do
    local a, u, m, l = base + i * WIDTH, keys[i*4+1], keys[i*4+2], keys[i*4+3]
    local first, fault = tonumber(args[a+2]), bad[m]
    if owner[u] == nil then owner[u] = redis.call('GET', u) or '' end
    if latest[m] == nil then latest[m] = tonumber(redis.call('HGET', m, 'latest') or -1) end
    local at = latest[m]
    if fault == nil then
      if owner[u] ~= args[a+1] then
        fault = 'FENCED ' .. i .. ' ' .. owner[u]
      elseif at < 0 then
        fault = 'NONE ' .. i
      elseif first == at + 1 then
        todo[#todo+1] = i
        latest[m] = at + tonumber(args[a+3])
      else
        -- Sent before, and the answer was lost? Then the very same entry is there.
        local old = again and first <= at and redis.call('XRANGE', l, '0-' .. args[a+2], '0-' .. args[a+2])
        if not old or not old[1] or old[1][2][4] ~= args[a+5] then fault = 'GAP ' .. i .. ' ' .. at end
      end
      if fault ~= nil then bad[m] = fault end
    else
      -- It follows a refused batch of the same stream.
      fault = string.gsub(fault, '^(%u+) %d+', '%1 ' .. i)
    end
    if fault ~= nil then faults[#faults+1] = fault end
  end
  if #faults > 0 then return refused(faults) end
  local messages = {}
  for _, i in ipairs(todo) do
    local a, m, l, o = base + i * WIDTH, keys[i*4+2], keys[i*4+3], keys[i*4+4]
    local old = redis.call('HMGET', m, 'size', 'ots')
    redis.call('XADD', l, '0-' .. args[a+2], 'n', args[a+3], 'b', args[a+5])
    redis.call('HSET', m, 'latest', tonumber(args[a+2]) + tonumber(args[a+3]) - 1, 'state', args[a+6], 'ts', args[a+8],
               'size', number(old[1]) + tonumber(args[a+4]), 'ots', old[2] or args[a+7], 'gen', generation)
    if args[a+9] == '+' then redis.call('SADD', o, args[a+10])
    elseif args[a+9] == '-' then redis.call('SREM', o, args[a+10]) end
    for w in string.gmatch(args[a+11], '%d+') do
      local message = messages[w] or {args[2 + 2 * tonumber(w) + 1]}
      message[#message+1] = args[a+10] .. ' ' .. args[a+2] .. ' ' .. args[a+3] .. ' ' .. #args[a+5]
      message[#message+1] = args[a+5]
      messages[w] = message
    end
  end
  for w, message in pairs(messages) do
    redis.call('PUBLISH', args[2 + 2 * tonumber(w)], table.concat(message, '\n'))
  end
  return #todo
end

local HEAD = {'epoch', 'oldest', 'latest', 'size', 'ots', 'state', 'ts', 'gen'}
local function head(m)
  local found = redis.call('HMGET', m, unpack(HEAD))
  return found[1] and found or false
end

-- keys: token, index, meta; args: token, generation, keeps (1: a restarted server has all acknowledged events),
-- new epoch, now, member of the index. Returns the head, and 1 if the epoch was renewed.
local function open(keys, args)
  local mine, have = owns(keys[1], args[1])
  if not mine then return refused({'FENCED 0 ' .. have}) end
  local renewed = 0
  local generation = redis.call('HMGET', keys[3], 'epoch', 'gen')
  if not generation[1] then
    redis.call('HSET', keys[3], 'epoch', args[4], 'latest', 0, 'oldest', 1, 'size', 0, 'state', '', 'ts', args[5],
               'gen', args[2])
    redis.call('ZADD', keys[2], 0, args[6])
  elseif generation[2] ~= args[2] then
    redis.call('HSET', keys[3], 'gen', args[2])
    if args[3] ~= '1' then
      redis.call('HSET', keys[3], 'epoch', args[4])
      renewed = 1
    end
  end
  return {head(keys[3]), renewed}
end

-- keys: token, index, meta, opened; args: token, generation, epoch, latest, state, ts, member of the index,
-- open (+, - or nothing), name. Returns 1, or 0: the stream exists, and is not the very same one.
local function restore(keys, args)
  local mine, have = owns(keys[1], args[1])
  if not mine then return refused({'FENCED 0 ' .. have}) end
  local found = redis.call('HMGET', keys[3], 'epoch', 'latest', 'size')
  if found[1] then return found[1] == args[3] and found[2] == args[4] and found[3] == '0' and 1 or 0 end
  redis.call('HSET', keys[3], 'epoch', args[3], 'latest', args[4], 'oldest', string.format('%.0f', args[4] + 1),
             'size', 0, 'state', args[5], 'ts', args[6], 'gen', args[2])
  redis.call('ZADD', keys[2], 0, args[7])
  if args[8] == '+' then redis.call('SADD', keys[4], args[9]) end
  return 1
end

-- keys: a meta for each stream. Returns a head for each, or nothing in its place.
local function heads(keys)
  local found = {}
  for i, m in ipairs(keys) do found[i] = head(m) end
  return found
end

-- keys: meta, lines; args: after, most entries. Returns oldest, latest, entries from the one with the next event on.
local function read(keys, args)
  local found = redis.call('HMGET', keys[1], 'oldest', 'latest')
  if not found[1] then return refused({'NONE 0'}) end
  local after = tonumber(args[1])
  if after + 1 < tonumber(found[1]) or after >= tonumber(found[2]) then return {found[1], found[2], {}} end
  local at = redis.call('XREVRANGE', keys[2], '0-' .. string.format('%.0f', after + 1), '-', 'COUNT', 1)
  if not at[1] then return {found[1], found[2], {}} end
  return {found[1], found[2], redis.call('XRANGE', keys[2], at[1][1], '+', 'COUNT', args[2])}
end

-- keys: token, meta, opened; args: token, state, open (+, - or nothing), name
local function mark(keys, args)
  local mine, have = owns(keys[1], args[1])
  if not mine then return refused({'FENCED 0 ' .. have}) end
  if redis.call('EXISTS', keys[2]) == 0 then return refused({'NONE 0'}) end
  redis.call('HSET', keys[2], 'state', args[2])
  if args[3] == '+' then redis.call('SADD', keys[3], args[4])
  elseif args[3] == '-' then redis.call('SREM', keys[3], args[4]) end
  return 1
end

-- keys: token, meta; args: token, new epoch, generation
local function epoch(keys, args)
  local mine, have = owns(keys[1], args[1])
  if not mine then return refused({'FENCED 0 ' .. have}) end
  if redis.call('EXISTS', keys[2]) == 0 then return refused({'NONE 0'}) end
  redis.call('HSET', keys[2], 'epoch', args[2], 'gen', args[3])
  return 1
end

-- keys: meta, lines; args: expected oldest, oldest, size of the dropped lines, ts of the new oldest event (nothing: no
-- event is kept), first seq of the first entry that is kept, expected latest. Returns 1, or 0: it moved, look again.
local function trim(keys, args)
  local found = redis.call('HMGET', keys[1], 'oldest', 'latest')
  if not found[1] then return refused({'NONE 0'}) end
  if found[1] ~= args[1] then return 0 end
  -- Between look and trim events can be appended, so that a stream which would be empty is not.
  if args[4] == '' and found[2] ~= args[6] then return 0 end
  redis.call('HSET', keys[1], 'oldest', args[2])
  redis.call('HINCRBY', keys[1], 'size', '-' .. args[3])
  if args[4] == '' then redis.call('HDEL', keys[1], 'ots') else redis.call('HSET', keys[1], 'ots', args[4]) end
  redis.call('XTRIM', keys[2], 'MINID', '0-' .. args[5])
  return 1
end

-- keys: token, index, opened, meta, lines, then each consumer; args: token, member of the index, name
local function remove(keys, args)
  local mine, have = owns(keys[1], args[1])
  if not mine then return refused({'FENCED 0 ' .. have}) end
  local latest = redis.call('HGET', keys[4], 'latest')
  if not latest then return 0 end
  for i = 6, #keys do
    local lost = tonumber(latest) - number(redis.call('HGET', keys[i], args[3]))
    redis.call('HDEL', keys[i], args[3])
    if lost > 0 then redis.call('HINCRBY', keys[i], 'lost', lost) end
  end
  redis.call('DEL', keys[4], keys[5])
  redis.call('SREM', keys[3], args[3])
  redis.call('ZREM', keys[2], args[2])
  return 1
end

-- keys: consumer, then a meta for each position; args: mode (new or all), ends (1: these are the last positions), then
-- per position: name, seq. Begins a consumer in a partition. Several nodes may begin it at once: when one has ended, no
-- other moves a position. Returns 1, or 0: it has begun.
local function begin(keys, args)
  local mode, beginning = redis.call('HGET', keys[1], 'mode'), args[1] .. '?'
  if mode == args[1] then return 0 end
  if mode ~= beginning then
    redis.call('DEL', keys[1])
    redis.call('HSET', keys[1], 'mode', beginning)
  end
  for i = 2, #keys do
    local a = 3 + (i - 2) * 2
    if redis.call('EXISTS', keys[i]) == 1 and tonumber(args[a+1]) > number(redis.call('HGET', keys[1], args[a])) then
      redis.call('HSET', keys[1], args[a], args[a+1])
    end
  end
  if args[2] == '1' then redis.call('HSET', keys[1], 'mode', args[1]) end
  return 1
end

-- keys: consumer, then a meta for each position; args: per position: name, epoch, seq
local function acknowledge(keys, args)
  for i = 2, #keys do
    local a = (i - 2) * 3
    local found = redis.call('HGET', keys[i], 'epoch')
    if found == args[a+2]
        and tonumber(args[a+3]) > number(redis.call('HGET', keys[1], args[a+1])) then
      redis.call('HSET', keys[1], args[a+1], args[a+3])
    end
  end
  return 1
end

-- keys: consumer; args: number of lost events that it was told; a negative number adds lost events. Returns how many of
-- them were in this partition.
local function told(keys, args)
  local taken = math.min(number(redis.call('HGET', keys[1], 'lost')), tonumber(args[1]))
  if taken ~= 0 then redis.call('HINCRBY', keys[1], 'lost', -taken) end
  return taken
end

-- keys: revocations; args: kind and name, at, until, now. Keeps the later of each of the times.
local function revoke(keys, args)
  local now = tonumber(args[4])
  local all = redis.call('HGETALL', keys[1])
  local at, till = args[2], args[3]
  for i = 1, #all, 2 do
    local old_at, old_till = string.match(all[i+1], '^(%S+) (%S+)$')
    if tonumber(old_till) <= now then redis.call('HDEL', keys[1], all[i])
    elseif all[i] == args[1] then
      if tonumber(old_at) > tonumber(at) then at = old_at end
      if tonumber(old_till) > tonumber(till) then till = old_till end
    end
  end
  redis.call('HSET', keys[1], args[1], at .. ' ' .. till)
  return 1
end

-- keys: token; args: expected token (nothing: none), new token. Returns 1 and the new token, or 0 and the token there.
local function claim(keys, args)
  local have = redis.call('GET', keys[1]) or ''
  if have ~= args[1] then return {0, have} end
  redis.call('SET', keys[1], args[2])
  return {1, args[2]}
end

-- keys: token; args: token. The term stays, so that no later token is equal to an earlier one.
local function release(keys, args)
  local have = redis.call('GET', keys[1]) or ''
  if have ~= args[1] then return {0, have} end
  local free = string.match(have, '^%S+') .. ' -'
  redis.call('SET', keys[1], free)
  return {1, free}
end

-- keys: nodes; args: node, incarnation, info, join (1: register), channel of the node.
-- Returns 1 and all nodes (name, value, ...), or 0 and the value there: buried (nothing), or another process of the name.
local function beat(keys, args)
  local have = redis.call('HGET', keys[1], args[1])
  local incarnation, count = string.match(have or '', '^(%S+) (%d+)')
  if have and incarnation ~= args[2] then return {0, have} end
  if not have and args[4] ~= '1' then return {0, ''} end
  redis.call('HSET', keys[1], args[1], args[2] .. ' ' .. string.format('%.0f', number(count) + 1) .. ' ' .. args[3])
  redis.call('PUBLISH', args[5], 'beat')
  return {1, redis.call('HGETALL', keys[1])}
end

-- keys: nodes; args: node, 'INCARNATION BEAT' as seen. Returns 1, or 0 if the node has beaten since, or is gone.
local function bury(keys, args)
  local have = redis.call('HGET', keys[1], args[1])
  if not have or string.sub(have, 1, #args[2] + 1) ~= args[2] .. ' ' then return 0 end
  return redis.call('HDEL', keys[1], args[1])
end

-- keys: nodes; args: node, incarnation. A node that ends removes itself.
local function leave(keys, args)
  local have = redis.call('HGET', keys[1], args[1])
  if not have or string.match(have, '^%S+') ~= args[2] then return 0 end
  return redis.call('HDEL', keys[1], args[1])
end

-- What frees memory, or needs next to none, must also work when the memory is full.
local function register(name, callback, ...)
  redis.register_function{function_name = 'gr1_' .. name, callback = callback, flags = {...}}
end
register('append', append)
register('open', open)
register('restore', restore)
register('heads', heads, 'no-writes')
register('read', read, 'no-writes')
register('mark', mark, 'allow-oom')
register('epoch', epoch, 'allow-oom')
register('trim', trim, 'allow-oom')
register('remove', remove, 'allow-oom')
register('begin', begin, 'allow-oom')
register('acknowledge', acknowledge, 'allow-oom')
register('told', told, 'allow-oom')
register('revoke', revoke, 'allow-oom')
register('claim', claim, 'allow-oom')
register('release', release, 'allow-oom')
register('beat', beat, 'allow-oom')
register('bury', bury, 'allow-oom')
register('leave', leave, 'allow-oom')
