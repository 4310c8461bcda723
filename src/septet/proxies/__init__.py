"""What proxies in front of the server say about their clients, and whether the server believes them (RFC 7239, PROXY
protocol).

addresses        addresses of clients in text or in network bytes
trust            which peers are trusted proxies
forwarded        the fields X-Forwarded-* and Forwarded: what each proxy on the way says
filter           which of these fields reach the application
proxy_protocol   the header that a proxy sends before the client's bytes
request_id       an id for each request, taken from a trusted proxy or made here
"""
