-- Load for wrk: a text of TOKENS characters, each with a seed of its own.
local tokens = tonumber(os.getenv("TOKENS") or "200")
local turn = 0

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

request = function()
  turn = turn + 1
  return wrk.format(nil, nil, nil,
    string.format('{"model":"kjv","input":"A","max_tokens":%d,"seed":%d}', tokens, turn))
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
