"""The guestbook under the eyes of wsgiref.validate, which raises AssertionError where server or application err."""

from wsgiref.validate import validator

from septet.examples.guestbook import wsgi as guestbook

wsgi = validator(guestbook)
