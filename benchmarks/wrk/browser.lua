-- A browser that asks for the same page again and again on a kept connection.
require("report")
wrk.headers = browser_headers()
