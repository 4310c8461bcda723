"""`application`, as Django's own template of this file makes it."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "real_apps.sites.shop.settings")
application = get_asgi_application()
