-- Load for wrk: one small prediction on one of SESSIONS sessions b0, b1, … in turn.
local sessions = tonumber(os.getenv("SESSIONS") or "64")
local turn, bad = 0, 0

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

request = function()
  turn = turn + 1
  return wrk.format(nil, nil, nil,
    string.format('{"session":"b%d","input":[%d],"top_k":1}', turn % sessions, turn * 7 % 63))
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
