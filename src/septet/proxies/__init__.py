"""What proxies in front of us say about their clients, and whether they are believed (RFC 7239, PROXY protocol).

addresses        addresses of clients in text or in network bytes
trust            which peers are trusted proxies
forwarded        X-Forwarded-* and Forwarded, hop by hop
filter           which of these fields reach the application
proxy_protocol   a header in front of the connection's own bytes
"""
