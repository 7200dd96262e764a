"""The steps of the cache protocol as Redis runs them: each one script on one key, so whole on any node of a cluster.

What stands at a key and is not ours (another program's, another release's, damaged) counts as nothing: a lease
overwrites it, a fill is refused.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from thermocline.adapters.cache.redis_frame import LEASE, MAGIC, TOMBSTONE, VALUE


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name under which Redis remembers it."""

    text: str
    digest: str


def _script(body: str) -> Script:
    text = _COMMON + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# Versions are compared as two halves: a number of Lua is exact to 2^53 only, and its strings compare by locale.
_COMMON: Final = f"""\
local MAGIC, VALUE, LEASE, TOMBSTONE = 'TC\\{MAGIC[2]}', '{VALUE.decode()}', '{LEASE.decode()}', '{TOMBSTONE.decode()}'
local NONE = string.rep('\\0', 8)
local function older(a, b)
  local ah, al = struct.unpack('>I4I4', a)
  local bh, bl = struct.unpack('>I4I4', b)
  return ah < bh or (ah == bh and al < bl)
end
local found = redis.pcall('GET', KEYS[1])
local kind, version, token = nil, NONE, ''
if type(found) == 'string' and #found >= 12 and string.sub(found, 1, 3) == MAGIC then
  kind, version, token = string.sub(found, 4, 4), string.sub(found, 5, 12), string.sub(found, 13)
end
"""

LEASE_SCRIPT: Final = _script("""\
if kind == VALUE or (kind == LEASE and token ~= ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], MAGIC .. LEASE .. version .. ARGV[1], 'PX', ARGV[2])
return 1
""")
"""KEYS: the key. ARGV: token, milliseconds. Returns 1 if the lease was installed or renewed."""

RENEW_SCRIPT: Final = _script("""\
if kind ~= LEASE or token ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
"""KEYS: the key. ARGV: token, milliseconds. Never installs anything."""

FILL_SCRIPT: Final = _script("""\
if kind ~= LEASE or token ~= ARGV[1] then return 0 end
if older(string.sub(ARGV[2], 5, 12), version) then
  redis.call('SET', KEYS[1], MAGIC .. TOMBSTONE .. version, 'KEEPTTL')
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
"""KEYS: the key. ARGV: token, frame, milliseconds."""

RELEASE_SCRIPT: Final = _script("""\
if kind ~= LEASE or token ~= ARGV[1] then return 0 end
local set = version ~= NONE and redis.pcall('SET', KEYS[1], MAGIC .. TOMBSTONE .. version, 'KEEPTTL')
if not set or set.err then redis.call('DEL', KEYS[1]) end
return 1
""")
"""KEYS: the key. ARGV: token. A floor stays for as long as the lease would have."""

TOMBSTONE_SCRIPT: Final = _script("""\
local floor = ARGV[1]
if kind == VALUE then
  if older(floor, version) then return 0 end
elseif (kind == LEASE or kind == TOMBSTONE) and older(floor, version) then
  floor = version
end
local set = redis.pcall('SET', KEYS[1], MAGIC .. TOMBSTONE .. floor, 'PX', ARGV[2])
if set.err then redis.call('DEL', KEYS[1]) end
return 1
""")
"""KEYS: the key. ARGV: version, milliseconds. A full Redis takes no tombstone but a deletion, which is as safe: an
absent key refuses every fill."""

DISCARD_SCRIPT: Final = _script("""\
if type(found) ~= 'string' or string.sub(found, 1, #ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")
"""KEYS: the key. ARGV: what it begins with. Deletes what was found unreadable, unless it was replaced."""

ALL: Final = (LEASE_SCRIPT, RENEW_SCRIPT, FILL_SCRIPT, RELEASE_SCRIPT, TOMBSTONE_SCRIPT, DISCARD_SCRIPT)
