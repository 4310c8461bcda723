-- What all scripts of this directory share: the headers of a browser, and the result of a run as one line of JSON
-- (wrk's own summary rounds to two digits and leaves out what did not happen).

-- Firefox fetching a page of a site where it is logged in. With Host, which wrk adds, these are 12 fields.
function browser_headers()
  return {
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Referer"] = "http://127.0.0.1/guestbook",
    ["Connection"] = "keep-alive",
    ["Cookie"] = "session=5f2b9c1e7a604d3f8e1c0b6a9d4e7f21; theme=dark; consent=all",
    ["Upgrade-Insecure-Requests"] = "1",
    ["Sec-Fetch-Dest"] = "document",
    ["Sec-Fetch-Mode"] = "navigate",
    ["Sec-Fetch-Site"] = "same-origin",
  }
end

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, '
      .. '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), latency.max,
    e.connect, e.read, e.write, e.status, e.timeout))
end
