"""What has to be one step on a Valkey or Redis server, as scripts for it; each touches one key.

A value is stored as its SHA-256 and then its bytes, so that conditions compare 32 bytes and hashes cost nothing; a list
is the server's own.  A script answers an error that begins with `KIND` for a key of the other kind and `LENGTH` for a
list that would become too long, and changes nothing then.
"""

from __future__ import annotations

import hashlib
from typing import Final


class Script:
    """Lua, and the name by which the server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


SET_IF: Final = Script("""
-- value, milliseconds, whether to store when (absent, equal, different), the hash to compare with (empty: none)
local kind = redis.call('TYPE', KEYS[1]).ok
local case = 3
if kind == 'none' then
    case = 1
elseif kind == 'string' and (ARGV[4] == '' or redis.call('GETRANGE', KEYS[1], 0, 31) == ARGV[4]) then
    case = 2
end
if string.sub(ARGV[3], case, case) == '0' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

_LIST = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'list' then return redis.error_reply('KIND') end
local length = redis.call('LLEN', KEYS[1])
local function push(command, values, first)
    for at = first, #values, 5000 do
        redis.call(command, KEYS[1], unpack(values, at, math.min(at + 4999, #values)))
    end
end
"""

EXTEND: Final = Script(
    _LIST
    + """
-- LPUSH or RPUSH, milliseconds, refresh, how many to keep (0: all), most elements, then the values
local count = #ARGV - 5
local keep = tonumber(ARGV[4])
local new = length + count
if keep > 0 and new > keep then new = keep end
if new > tonumber(ARGV[5]) then return redis.error_reply('LENGTH') end
if new == 0 then return 0 end
push(ARGV[1], ARGV, 6)
if length + count > keep and keep > 0 then
    if ARGV[1] == 'LPUSH' then
        redis.call('LTRIM', KEYS[1], 0, keep - 1)
    else
        redis.call('LTRIM', KEYS[1], -keep, -1)
    end
end
if length == 0 or ARGV[3] == '1' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return new
"""
)

POP: Final = Script(
    _LIST
    + """
-- LPOP or RPOP
local value = redis.call(ARGV[1], KEYS[1])
if not value then return false end
return {value, length - 1}
"""
)

ERASE: Final = Script(
    _LIST
    + """
-- ascending ranges that neither touch nor overlap: begin, end, begin, end, ...; none: everything
if length == 0 then return false end
local pieces, at = {}, 0
for index = 1, #ARGV, 2 do
    local first, last = tonumber(ARGV[index]), tonumber(ARGV[index + 1])
    if first >= length then break end
    if first > at then table.insert(pieces, {at, first - 1}) end
    at = last
end
if at < length and #ARGV > 0 then table.insert(pieces, {at, length - 1}) end
if #pieces == 0 then
    redis.call('UNLINK', KEYS[1])
    return 0
end
if #pieces == 1 then
    redis.call('LTRIM', KEYS[1], pieces[1][1], pieces[1][2])
    return redis.call('LLEN', KEYS[1])
end
local kept = {}
for _, piece in ipairs(pieces) do
    for _, value in ipairs(redis.call('LRANGE', KEYS[1], piece[1], piece[2])) do table.insert(kept, value) end
end
local left = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
push('RPUSH', kept, 1)
if left >= 0 then redis.call('PEXPIRE', KEYS[1], left) end
return #kept
"""
)

REMOVE: Final = Script(
    _LIST
    + """
-- the value
if length == 0 then return false end
return length - redis.call('LREM', KEYS[1], 0, ARGV[1])
"""
)

_BOUNDS = (
    _LIST
    + """
-- start and end, empty: unbounded
if length == 0 then return false end
local function index(text, unbounded)
    local number = tonumber(text)
    if not number then return unbounded end
    if number < 0 then number = number + length end
    return math.max(0, math.min(number, length))
end
local first, last = index(ARGV[1], 0), index(ARGV[2], length)
"""
)

FETCH: Final = Script(
    _BOUNDS
    + """
if first >= last then return {} end
return redis.call('LRANGE', KEYS[1], first, last - 1)
"""
)

RETAIN: Final = Script(
    _BOUNDS
    + """
-- also milliseconds, refresh
if first >= last then
    redis.call('UNLINK', KEYS[1])
    return 0
end
redis.call('LTRIM', KEYS[1], first, last - 1)
if ARGV[4] == '1' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return last - first
"""
)
