#!/bin/sh
# exec: the server is the container's first process, so that stopping the container reaches it.
exec httpd -f -p "${PORT:-8080}" -h /srv/www
