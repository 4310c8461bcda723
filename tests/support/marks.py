"""Marks for tests whose subject exists in one application interface only."""

import pytest

wsgi_only = pytest.mark.parametrize("interface", ["wsgi"])
asgi_only = pytest.mark.parametrize("interface", ["asgi"])
