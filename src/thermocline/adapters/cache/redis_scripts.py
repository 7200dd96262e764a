"""The steps of the cache protocol as Redis runs them: each one script on one key, so whole on any node of a cluster.

What stands at a key and is not ours (another program's, another release's, damaged) counts as nothing: a lease
overwrites it, a fill is refused. No script but those that replace a value reads more of it than its beginning.
A token beside a value ends by Redis' own clock; whether a value is fresh is judged by the caller's, as its reads are.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from thermocline.adapters.cache.redis_frame import (
    CHECKSUM_AT,
    HEAD_BYTES,
    LEASE,
    LIFE_BYTES,
    MAGIC,
    MARK,
    SLOT_BYTES,
    TOKEN_BYTES,
    TOMBSTONE,
    VALUE,
)


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name under which Redis remembers it."""

    text: str
    digest: str


def _script(body: str) -> Script:
    text = _COMMON + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_SLOT: Final = MARK.size
_ENDS: Final = _SLOT + TOKEN_BYTES
_FRESH: Final = _SLOT + SLOT_BYTES

# Versions and moments are compared as two halves: a number of Lua is exact to 2^53 only, its strings compare by locale.
_COMMON: Final = f"""\
local MAGIC, VALUE, LEASE, TOMBSTONE = 'TC\\{MAGIC[2]}', '{VALUE.decode()}', '{LEASE.decode()}', '{TOMBSTONE.decode()}'
local NONE, FREE = string.rep('\\0', 8), string.rep('\\0', {SLOT_BYTES})
local function older(a, b)
  local ah, al = struct.unpack('>I4I4', a)
  local bh, bl = struct.unpack('>I4I4', b)
  return ah < bh or (ah == bh and al < bl)
end
local found = redis.pcall('GETRANGE', KEYS[1], 0, {LIFE_BYTES - 1})
local kind, version, token = nil, NONE, nil
if type(found) == 'string' and #found >= {MARK.size} and string.sub(found, 1, {len(MAGIC)}) == MAGIC then
  kind, version = string.sub(found, {len(MAGIC) + 1}, {len(MAGIC) + 1}), string.sub(found, 5, {MARK.size})
  token = string.sub(found, {_SLOT + 1}, {_ENDS})
  if (kind == VALUE and #found < {LIFE_BYTES}) or (kind == LEASE and #found ~= {_ENDS}) then
    kind, version = nil, NONE
  end
end
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local function held_by()
  if kind == LEASE then return token end
  if kind ~= VALUE or struct.unpack('>I8', string.sub(found, {_ENDS + 1}, {_FRESH})) <= now() then return nil end
  return token
end
local function hold(name, milliseconds)
  redis.call('SETRANGE', KEYS[1], {_SLOT}, name .. struct.pack('>I8', now() + tonumber(milliseconds)))
end
local function let_go() redis.pcall('SETRANGE', KEYS[1], {_SLOT}, FREE) end
local function bury(floor, milliseconds)
  local set = redis.pcall('SET', KEYS[1], MAGIC .. TOMBSTONE .. floor, 'PX', milliseconds)
  if set.err then redis.call('DEL', KEYS[1]) end
end
"""

LEASE_SCRIPT: Final = _script(f"""\
local holder = held_by()
if holder and holder ~= ARGV[1] then return 0 end
if kind == VALUE then
  if older(ARGV[3], string.sub(found, {_FRESH + 1}, {_FRESH + 8}))
    and older(ARGV[3], string.sub(found, {_FRESH + 9}, {_FRESH + 16})) then return 0 end
  hold(ARGV[1], ARGV[2])
else
  redis.call('SET', KEYS[1], MAGIC .. LEASE .. version .. ARGV[1], 'PX', ARGV[2])
end
return 1
""")
"""KEYS: the key. ARGV: token, milliseconds, moment. Returns 1 if the lease was installed or renewed."""

REFRESH_SCRIPT: Final = _script(f"""\
if kind ~= VALUE or not older(ARGV[3], string.sub(found, {_FRESH + 9}, {_FRESH + 16})) then return 0 end
local holder = held_by()
if holder and holder ~= ARGV[1] then return 0 end
hold(ARGV[1], ARGV[2])
return 1
""")
"""KEYS: the key. ARGV: token, milliseconds, moment. Only beside a value whose content has not ended."""

RENEW_SCRIPT: Final = _script("""\
if held_by() ~= ARGV[1] then return 0 end
if kind == VALUE then hold(ARGV[1], ARGV[2]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
""")
"""KEYS: the key. ARGV: token, milliseconds. Never installs anything."""

FILL_SCRIPT: Final = _script("""\
if held_by() ~= ARGV[1] then return 0 end
if older(string.sub(ARGV[2], 5, 12), version) then
  if kind == VALUE then let_go() else redis.call('SET', KEYS[1], MAGIC .. TOMBSTONE .. version, 'KEEPTTL') end
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
"""KEYS: the key. ARGV: token, frame, milliseconds."""

RELEASE_SCRIPT: Final = _script("""\
if held_by() ~= ARGV[1] then return 0 end
if kind == VALUE then
  let_go()
  return 1
end
local set = version ~= NONE and redis.pcall('SET', KEYS[1], MAGIC .. TOMBSTONE .. version, 'KEEPTTL')
if not set or set.err then redis.call('DEL', KEYS[1]) end
return 1
""")
"""KEYS: the key. ARGV: token. A floor stays for as long as the lease would have. On a full Redis the token beside a
value stays until it ends."""

TOMBSTONE_SCRIPT: Final = _script("""\
local floor = ARGV[1]
if kind == VALUE then
  if older(floor, version) then return 0 end
elseif kind and older(floor, version) then
  floor = version
end
bury(floor, ARGV[2])
return 1
""")
"""KEYS: the key. ARGV: version, milliseconds. A full Redis takes no tombstone but a deletion, which is as safe: an
absent key refuses every fill."""

EVICT_SCRIPT: Final = _script("""\
if kind ~= VALUE and kind ~= LEASE then return 0 end
bury(version, ARGV[1])
return kind == VALUE and 1 or 0
""")
"""KEYS: the key. ARGV: milliseconds. Returns 1 for a value. What is no frame of ours stays: reads see nothing in it."""

PUT_SCRIPT: Final = _script(f"""\
local frame, given = ARGV[1], string.sub(ARGV[1], 5, 12)
if not older(version, given) and version ~= string.rep('\\255', 8) then
  local high, low = struct.unpack('>I4I4', version)
  low = low + 1
  if low == 4294967296 then high, low = high + 1, 0 end
  local given_high, given_low = struct.unpack('>I4I4', given)
  local sum_high, sum_low = struct.unpack('>I4I4', string.sub(frame, {CHECKSUM_AT + 1}, {HEAD_BYTES}))
  sum_high = bit.bxor(sum_high, given_high, high)
  sum_low = bit.bxor(sum_low, given_low, low)
  given = struct.pack('>I4I4', high, low)
  frame = string.sub(frame, 1, 4) .. given .. string.sub(frame, 13, {CHECKSUM_AT})
    .. struct.pack('>I4I4', sum_high, sum_low) .. string.sub(frame, {HEAD_BYTES + 1})
end
local set = redis.pcall('SET', KEYS[1], frame, 'PX', ARGV[2])
if set.err then
  redis.call('DEL', KEYS[1])
  return set
end
return given
""")
"""KEYS: the key. ARGV: frame, milliseconds. Returns the version that the value has now. What it was to replace goes
even if Redis is full: nothing else would tell that it is old."""

DISCARD_SCRIPT: Final = _script(f"""\
if type(found) == 'string' then
  found = redis.call('GETRANGE', KEYS[1], 0, {HEAD_BYTES - 1})
  if string.sub(found, 1, {MARK.size}) ~= ARGV[1] or string.sub(found, {_FRESH + 1}) ~= ARGV[2] then return 0 end
end
return redis.call('DEL', KEYS[1])
""")
"""KEYS: the key. ARGV: mark, facts. Deletes what was found unreadable, unless it was replaced."""

COUNT_SCRIPT: Final = _script("""\
local there = redis.call('TYPE', KEYS[1]).ok
if there ~= 'hash' and there ~= 'none' then redis.call('DEL', KEYS[1]) end
for at = 1, #ARGV, 2 do
  local added = redis.pcall('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1])
  if type(added) == 'table' then redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
end
return #ARGV / 2
""")
"""KEYS: a hash of counters. ARGV: name, number, ... What is no hash there makes room for one, what is no number too."""

ALL: Final = (
    LEASE_SCRIPT,
    REFRESH_SCRIPT,
    RENEW_SCRIPT,
    FILL_SCRIPT,
    RELEASE_SCRIPT,
    TOMBSTONE_SCRIPT,
    EVICT_SCRIPT,
    PUT_SCRIPT,
    DISCARD_SCRIPT,
    COUNT_SCRIPT,
)
