"""The shop's addresses."""

from django.contrib import admin
from django.urls import path

from real_apps.sites.shop import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("items", views.add),
    path("items/<name>", views.show),
    path("async/<name>", views.show_async),
    path("bridged/<name>", views.show_bridged),
    path("export", views.export),
]
