-- A script in a page that posts 1 KiB of JSON.
require("report")
wrk.method = "POST"
wrk.headers = browser_headers()
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Upgrade-Insecure-Requests"] = nil
local before, after = '{"name": "Ada", "remark": "', '"}'
wrk.body = before .. string.rep("x", 1024 - #before - #after) .. after
