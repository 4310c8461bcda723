-- As a load balancer passes on what browsers send: the query, Referer, Cookie, X-Request-Id, traceparent and
-- X-Forwarded-For differ in each request. See varying.lua for how, and for the number of requests.
require("report")

local NUMBER = 10007
local requests = {}
local at = 0

function init(args)
  for i = 1, NUMBER do
    local headers = browser_headers()
    headers["Referer"] = string.format("http://127.0.0.1/list?page=%d", i - 1)
    headers["Cookie"] = string.format("session=%08x7a604d3f8e1c0b6a9d4e%04x; theme=dark; consent=all", i * 7919, i)
    headers["X-Request-Id"] = string.format("%08x-7a60-4d3f-8e1c-%012x", i * 104729, i)
    headers["traceparent"] = string.format("00-7a604d3f8e1c0b6a%016x-%016x-01", i * 7919, i * 31)
    headers["X-Forwarded-For"] = string.format("203.0.%d.%d", i / 250 % 50, i % 250 + 1)
    headers["X-Forwarded-Proto"] = "https"
    headers["Host"] = wrk.headers["Host"]
    requests[i] = wrk.format("GET", wrk.path .. "?page=" .. i, headers)
  end
end

function request()
  at = at % NUMBER + 1
  return requests[at]
end
