-- Every change of limits that replicas share, and every decision, in one round trip. Times are whole microseconds.
--
-- ARGV: the caller's time or '' for the server's; how long a draw may be booked ahead, -1 to only look; how long a place in
-- flight is kept for a replica that does not say that it is still in use; the draw's own name; then items of seven:
-- kind, key, name, x, y, pace, enforced.
--
--   told first, in their order               looked at, and drawn from when all of the enforced have room
--   r  a call in flight has ended            o  an owner: may it be called at all
--   e  a call in flight goes on              w  a window: x the draw's time, y the tolerance
--   p  shut the owner for x                  f  calls in flight: x of them at once
--   m  TAT is not before now + x
--   d  what was drawn apart: TAT is not before x, and y more
--
-- A bucket is a field of its owner's hash, 'TAT pace'; calls in flight are a sorted set by when they lapse. Answers
-- {1 when drawn, the wait or -1 for never and -2 for "when a call ends", now}, then for each item that was looked at its
-- state (o: until when it is shut, w: TAT, f: calls) and 1 where it had no room.

local ITEM, FIRST, HOUR = 7, 4, 3600000000
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local patience, lease, name = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local life = {}

-- A clock that was set back takes every time with it: what was owed is still owed.
local function known(key)
  if life[key] then
    return
  end
  life[key] = 0
  local last = tonumber(redis.call('HGET', key, 'now') or now)
  if now + 1000000 < last then
    local held = redis.call('HGETALL', key)
    for at = 1, #held, 2 do
      local time, rest = string.match(held[at + 1], '^(%d+)(.*)$')
      redis.call('HSET', key, held[at], string.format('%.0f', math.max(0, tonumber(time) - (last - now))) .. rest)
    end
  end
end

local function number(key, field)
  known(key)
  return tonumber(redis.call('HGET', key, field) or 0)
end

local function tat_of(key, field, pace)
  known(key)
  local held = redis.call('HGET', key, 'w:' .. field)
  if not held then
    return 0
  end
  local tat, old = string.match(held, '^(%d+) (.+)$')
  tat = tonumber(tat)
  if old ~= pace and tat > now then
    tat = now + math.floor((tat - now) * tonumber(pace) / tonumber(old))
  end
  return tat
end

local function outlive(key, time)
  life[key] = math.max(life[key], time - now)
end

local function keep(key, field, tat, pace)
  redis.call('HSET', key, 'w:' .. field, string.format('%.0f ', tat) .. pace)
  outlive(key, tat)
end

local function fly(key, member)
  redis.call('ZADD', key, string.format('%.0f', now + lease), member)
  redis.call('PEXPIRE', key, string.format('%.0f', lease / 1000 + 60000))
end

local seen, wait, full, never = {}, 0, false, false
for at = FIRST, #ARGV - ITEM, ITEM do
  local kind, key, field = ARGV[at + 1], KEYS[tonumber(ARGV[at + 2])], ARGV[at + 3]
  local x, y, pace, enforced = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), ARGV[at + 6], ARGV[at + 7] == '1'
  if kind == 'r' then
    redis.call('ZREM', key, field)
  elseif kind == 'e' then
    fly(key, field)
  elseif kind == 'p' then
    local shut = math.max(number(key, 'shut'), now + x)
    redis.call('HSET', key, 'shut', string.format('%.0f', shut))
    outlive(key, shut)
  elseif kind == 'm' then
    keep(key, field, math.max(tat_of(key, field, pace), now + x), pace)
  elseif kind == 'd' then
    keep(key, field, math.max(tat_of(key, field, pace), x) + y, pace)
  else
    local item = { kind = kind, key = key, field = field, x = x, y = y, pace = pace, over = 0, wait = 0 }
    if kind == 'o' then
      item.state = number(key, 'shut')
      item.wait = math.max(0, item.state - now)
    elseif kind == 'w' then
      item.state = tat_of(key, field, pace)
      if x > y then
        item.over = 1
        never = never or enforced
      elseif x > 0 then
        item.wait = math.max(0, math.max(item.state, now) + x - y - now)
      end
    else
      redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
      item.state = redis.call('ZCARD', key)
      if item.state >= x then
        item.over = 1
        full = full or enforced
      end
    end
    if enforced then
      wait = math.max(wait, item.wait)
    end
    seen[#seen + 1] = item
  end
end

local drawn = 0
if never then
  wait = -1
elseif full then
  wait = -2
elseif wait <= patience then
  drawn = 1
  local start = now + wait
  for _, item in ipairs(seen) do
    if item.kind == 'w' then
      if now + item.wait > start then
        item.over = 1
      elseif item.over == 0 and item.x > 0 then
        item.state = math.max(item.state, start) + item.x
        keep(item.key, item.field, item.state, item.pace)
      end
    elseif item.kind == 'f' then
      fly(item.key, name)
      item.state = item.state + 1
    end
  end
end

for key, time in pairs(life) do
  if time > 0 then
    redis.call('HSET', key, 'now', string.format('%.0f', now))
    local left = redis.call('PTTL', key)
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(left, (time + HOUR) / 1000)))
  end
end

local answer = { drawn, wait, now }
for _, item in ipairs(seen) do
  answer[#answer + 1] = item.state
  answer[#answer + 1] = item.over
end
return answer
