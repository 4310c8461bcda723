-- As behind a proxy that numbers requests, for users who come and go: Cookie and X-Request-Id differ in each request.
-- The requests are written before the run starts, so that writing them costs the generator nothing while it measures;
-- their number is far above what a server would remember for 64 connections, and is prime, so that no connection
-- meets its own again soon.
require("report")

local NUMBER = 10007
local requests = {}
local at = 0

function init(args)
  for i = 1, NUMBER do
    local headers = browser_headers()
    headers["Cookie"] = string.format("session=%08x7a604d3f8e1c0b6a9d4e%04x; theme=dark; consent=all", i * 7919, i)
    headers["X-Request-Id"] = string.format("%08x-7a60-4d3f-8e1c-%012x", i * 104729, i)
    headers["Host"] = wrk.headers["Host"]
    requests[i] = wrk.format("GET", nil, headers)
  end
end

function request()
  at = at % NUMBER + 1
  return requests[at]
end
