"""The atomic operations of the Redis ledger, as Lua scripts.

A script sees the keys of one account and of its group, which lie in one slot of a cluster. All numbers that must be
exact are bytes that the client has packed; Lua compares versions and rests as text, because its numbers are exact to
2^53 only.

Fields of an id: `n` uses, `x` the solution that spent it, `e` when it may be forgotten. Of an outcome: `d` the digest
of the request, `t` the time of the settlement, `r` the rest, `b` everything in bytes, `e` as above. Of an account: `v`
the version, `s` the sums and the wealth, `n` the new samples, `o` the old ones, `u` the usage.
"""

MOST_EXTRA_SECONDS = 255
"""Largest number of seconds for which Redis remembers ids and outcomes longer than it must."""

# Redis looks for keys that have expired and removes them in a quarter of its time or more, in which it answers nobody,
# as long as many are left. Keys of one moment therefore expire apart, by a digest of their names.
_KEEP = """
local function keep(key, expires)
  if tonumber(expires) > tonumber(redis.call('HGET', key, 'e') or '0') then
    redis.call('HSET', key, 'e', expires)
    local extra = tonumber(string.sub(redis.sha1hex(key), 1, 2), 16)
    redis.call('EXPIREAT', key, math.ceil(tonumber(expires)) + extra)
  end
end
"""

READ = """
local states, spent, first = {}, {}, tonumber(ARGV[1])
for i = 1, first, 3 do
  local fields = redis.call('HMGET', KEYS[i], 's', 'n', 'o', 'v', 'u')
  states[(i + 2) / 3] = {fields, redis.call('GET', KEYS[i + 1]), redis.call('GET', KEYS[i + 2])}
end
for i = first + 1, #KEYS do spent[i - first] = redis.call('HGET', KEYS[i], 'x') end
return {states, spent}
"""
"""KEYS: the account, its rule and its limits, the same of its group if it has one, ids. ARGV: how many come before ids.

Returns the fields, the rule and the limits of the account and of its group, and what spent each id.
"""

ADMIT = (
    _KEEP
    + """
local solution, digest, expires, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local most, retry, pays_rest = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local withheld = false
if pays_rest then
  local found = redis.call('HMGET', KEYS[2], 'd', 'r', 'b')
  if found[1] ~= digest or found[2] == '0' then return {'mismatch'} end
  withheld = {found[1], found[3]}
end
local used, spent, own = 0, 0, true
for i = 3, #KEYS do
  local id = redis.call('HMGET', KEYS[i], 'n', 'x')
  used = math.max(used, tonumber(id[1] or '0'))
  if id[2] then
    spent = spent + 1
    own = own and id[2] == solution
  end
end
local function count()
  for i = 3, #KEYS do redis.call('HINCRBY', KEYS[i], 'n', 1) end
end
if spent == 0 then
  if used >= most then return {'exhausted'} end
  count()
  for i = 3, #KEYS do keep(KEYS[i], expires) end
  if pays_rest then keep(KEYS[2], expires) end
  return {'fresh', false, withheld}
end
local outcome = redis.call('HMGET', KEYS[1], 'd', 't', 'r', 'b')
if not own or spent < #KEYS - 2 or outcome[1] ~= digest or now - tonumber(outcome[2]) > retry then return {'spent'} end
if outcome[3] == '0' then
  if used >= most then return {'exhausted'} end
  count()
end
return {'repeat', {outcome[1], outcome[4]}, withheld}
"""
)
"""KEYS: the outcome of the solution, the withheld outcome that it pays for or the same key again, ids.

ARGV: the solution's name, the digest of the request, when its ids may be forgotten, the time now, the most uses, the
seconds of retries, and 1 where it pays for a withheld outcome. Returns the admission, and the digest and bytes of the
outcome and of the withheld one.
"""

SETTLE = (
    _KEEP
    + """
local rows = tonumber(ARGV[1])
for i = 1, rows do
  if (redis.call('HGET', KEYS[i], 'v') or '0') ~= ARGV[7 * i - 5] then return 0 end
end
local place, key = 7 * rows + 2, rows + 1
while place < #ARGV do
  for i = 1, tonumber(ARGV[place]) do
    if redis.call('HEXISTS', KEYS[key + i], 'x') == 1 then return 0 end
  end
  key = key + 1 + tonumber(ARGV[place])
  place = place + 7
end
for i = 1, rows do
  local at = 7 * i - 5
  redis.call('HSET', KEYS[i], 'v', ARGV[at + 1], 's', ARGV[at + 2], 'n', ARGV[at + 3])
  if ARGV[at + 5] == '0' then redis.call('HSET', KEYS[i], 'o', ARGV[at + 4]) end
  if ARGV[at + 6] ~= '' then redis.call('HSET', KEYS[i], 'u', ARGV[at + 6]) end
end
place, key = 7 * rows + 2, rows + 1
while place < #ARGV do
  local ids, solution, digest = tonumber(ARGV[place]), ARGV[place + 1], ARGV[place + 2]
  local expires = tonumber(ARGV[place + 6])
  for i = 1, ids do
    expires = math.max(expires, tonumber(redis.call('HGET', KEYS[key + i], 'e') or '0'))
  end
  expires = string.format('%.6f', expires)
  for i = 1, ids do
    redis.call('HSETNX', KEYS[key + i], 'n', 1)
    redis.call('HSET', KEYS[key + i], 'x', solution)
    keep(KEYS[key + i], expires)
  end
  redis.call('HSET', KEYS[key], 'd', digest, 't', ARGV[place + 3], 'r', ARGV[place + 4], 'b', ARGV[place + 5])
  keep(KEYS[key], expires)
  key = key + 1 + ids
  place = place + 7
end
return 1
"""
)
"""KEYS: the account and its group if that changes, then of each spending its outcome and its ids.

ARGV: 1, or 2 with a group; of each the version before and after, sums, new and old samples, 1 where the old ones stay,
and the usage; then of each spending the number of its ids, the solution's name, digest, time, rest and bytes of the
outcome, and when all may be forgotten. Returns 1 where it was written. An outcome is remembered as long as the last of
its ids.
"""

FAIL = (
    _KEEP
    + """
local now, window, most, ids = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), (#KEYS - 1) / 2
local failures = redis.call('HMGET', KEYS[1], 'n', 't')
local count, since = tonumber(failures[1] or '0'), tonumber(failures[2] or '0')
if now - since > window then
  count, since = 0, now
end
redis.call('HSET', KEYS[1], 'n', count + 1, 't', string.format('%.6f', since))
redis.call('EXPIRE', KEYS[1], 2 * window)
if count < most then return 0 end
local solution, outcome = nil, nil
for i = 1, ids do
  local key = KEYS[1 + i]
  if redis.call('HEXISTS', key, 'x') == 0 then
    if not solution then solution, outcome = 'failed:' .. ARGV[5 + i], KEYS[1 + ids + i] end
    redis.call('HSETNX', key, 'n', 1)
    redis.call('HSET', key, 'x', solution)
    keep(key, ARGV[4])
  end
end
if solution then
  redis.call('HSET', outcome, 'd', '', 't', ARGV[1], 'r', '0', 'b', ARGV[5])
  keep(outcome, ARGV[4])
end
return 1
"""
)
"""KEYS: the account's failures, ids, and for each id the outcome that spends it with those after it.

ARGV: the time now, the seconds of the window, the most failures, when all may be forgotten, the bytes of the outcome,
and the ids' names.
"""

TOUCH = """
local solution = redis.call('HGET', KEYS[1], 'x')
if solution then redis.call('HSET', KEYS[1], 'x', solution) end
return 1
"""
"""KEYS: a spent id. Changes nothing; what WAIT waits for after it includes all changes that were made before."""

FORGET = """
if redis.call('HGET', KEYS[1], 'v') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
"""KEYS: the account. ARGV: its version. Returns 0 where it has another one."""

ADD_KEY = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'account', ARGV[2], 'created', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'revoked', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'expires', ARGV[5]) end
return 1
"""
"""KEYS: the key's record. ARGV: digest, account, times of creation, revocation and expiry, the latter two if any.

Returns 0 where it is there.
"""

REVOKE_KEY = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSETNX', KEYS[1], 'revoked', ARGV[1])
return 1
"""
"""KEYS: the key's record. ARGV: the time. Returns 0 where there is no such key."""

SECRETS = """
if redis.call('LLEN', KEYS[1]) == 0 then redis.call('RPUSH', KEYS[1], ARGV[1]) end
return redis.call('LRANGE', KEYS[1], 0, -1)
"""
"""KEYS: the secrets. ARGV: the first one, should there be none. Returns all, oldest first."""

ROTATE = """
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -2, -1)
return 1
"""
"""KEYS: the secrets. ARGV: the new one, beside which the one before stays."""
