"""The fixture applications in a process that may open few descriptors, from before the server accepts anybody.

Afterwards would be too late for io_uring: the kernel takes the limit when it is asked to accept, which is done once.
Not to be imported by a test, whose own limit would fall.
"""

import resource

from support import apps_asgi, apps_wsgi

LIMIT = 40

resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

wsgi, asgi = apps_wsgi.app, apps_asgi.app
