-- A connection for every request: wrk connects again when the server has answered and closed.
require("report")
wrk.headers = browser_headers()
wrk.headers["Connection"] = "close"
