-- PUTs of one body size, made by wrk. After `--`: file of bodies, size of a body, prefix of ids, number of ids (0:
-- every request has its own). The last line printed is `RESULT {json}`.

local bodies, heads, prefix, ids, count, size = {}, nil, nil, 0, 0, 0

function init(args)
  size, prefix, ids = tonumber(args[2]), args[3], tonumber(args[4])
  local file = assert(io.open(args[1], "rb"))
  while true do
    local body = file:read(size)
    if not body or #body < size then break end
    bodies[#bodies + 1] = body
  end
  file:close()
  heads = " HTTP/1.1\r\nHost: 127.0.0.1:" .. wrk.port ..
    "\r\nContent-Type: application/octet-stream\r\nContent-Length: " .. size .. "\r\n\r\n"
end

function request()
  count = count + 1
  local id = count
  if ids > 0 then id = count % ids end
  return "PUT /v1/content/" .. prefix .. id .. heads .. bodies[count % #bodies + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"operations": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "failed": %d, "statuses": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
