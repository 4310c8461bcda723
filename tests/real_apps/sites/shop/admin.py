"""The shop's items in Django's administration."""

from django.contrib import admin

from real_apps.sites.shop.models import Item

admin.site.register(Item)
