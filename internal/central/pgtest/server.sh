# shellcheck shell=sh
# Runs a PostgreSQL server in the folder $1 for as long as standard input is open,
# and removes the folder afterwards: the server ends with the process that wanted
# it, however that one ends. $2 is where initdb and pg_ctl are, $3 more options.
set -e
dir=$1 bin=$2
trap '' INT HUP TERM # meant for the tests, and all that they started; input will end

# initdb refuses root.
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
  as() { runuser -u postgres -- "$@"; }
  chown postgres "$dir"
fi
cd "$dir"
stop() {
  [ ! -e data/postmaster.pid ] || as "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
  cd / && rm -rf "$dir"
}
trap stop EXIT
as "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >&2
as "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 30 \
  -o "-k '$dir' -c listen_addresses= -c max_connections=400 -c shared_buffers=64MB $3" start >&2 || {
  cat "$dir/log" >&2
  exit 1
}
echo ready
cat >/dev/null
