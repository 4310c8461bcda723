-- Browsers that come, ask for a page and what belongs to it, and go: every tenth request ends its connection, so that a
-- connection has ten requests on average.
require("report")

local kept, last
local at = 0

function init(args)
  local headers = browser_headers()
  headers["Host"] = wrk.headers["Host"]
  kept = wrk.format("GET", nil, headers)
  headers["Connection"] = "close"
  last = wrk.format("GET", nil, headers)
end

function request()
  at = at % 10 + 1
  return at == 10 and last or kept
end
