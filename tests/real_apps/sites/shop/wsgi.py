"""`application`, as Django's own template of this file makes it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "real_apps.sites.shop.settings")
application = get_wsgi_application()
