"""A Django site of one view that asks SQLite for one row by the ORM: settings, model, view and URLs in one module.

    python django_site.py DIRECTORY      # makes the database there, before any server starts

The settings are startproject's, less what one view does not need (admin, sessions, users). Connections to the database
are kept (CONN_MAX_AGE), as Django's documentation advises for a site with traffic: each thread that runs the
application has one of its own, and a server that keeps changing threads pays for it.
"""

import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.urls import path

from apps import REMARKS, page

DIRECTORY = Path(sys.argv[1] if __name__ == "__main__" else os.environ["BENCH_FILES"])

settings.configure(
    DEBUG=False,
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="of a benchmark",
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DIRECTORY / "django.sqlite3",
            "CONN_MAX_AGE": None,
        }
    },
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)
django.setup()


class Remark(models.Model):
    name = models.CharField(max_length=40)
    text = models.TextField()

    class Meta:
        app_label = "benchmark"


def remark(request: HttpRequest, number: int) -> HttpResponse:
    found = Remark.objects.get(pk=number)
    return HttpResponse(page(found.name, found.text))


urlpatterns = [path("remarks/<int:number>", remark)]
app = WSGIHandler()


def make_database() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Remark)
    Remark.objects.bulk_create(Remark(name=name, text=text) for name, text in REMARKS)
    connection.close()


if __name__ == "__main__":
    make_database()
