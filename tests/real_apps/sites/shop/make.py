"""Makes the shop's database: its tables, a superuser, and rows to export."""

import sys

import django
from django.contrib.auth import get_user_model
from django.core.management import call_command

from real_apps.sizes import ROW_BYTES, ROWS


def make(password: str) -> None:
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    get_user_model().objects.create_superuser("admin", "admin@example.test", password)
    from real_apps.sites.shop.models import Item  # which needs what setup has set up

    Item.objects.bulk_create(Item(name=f"item {row}", price=row, description="." * ROW_BYTES) for row in range(ROWS))


if __name__ == "__main__":
    make(sys.argv[1])
