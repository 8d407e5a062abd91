# How the simulation is built and run, so that a seed decides everything. Sourced by
# scripts/simulate and scripts/guards.
# shellcheck shell=bash

# Go leaves some things to chance and to real time: which of several ready channels a select
# takes, which of several timers of one instant is first, in which order a map is walked
# through, when a goroutine is put back because it has run or read a file for long. Here
# they follow from virtual time: build_simulation builds with some lines of five files of the
# runtime that are others, laid over those of the Go that is installed (go help build, -overlay).
replaced=()

# lay_over DIR FILE SED...: a file of the runtime as sed changes it; every expression must.
lay_over() {
  local dir=$1 file=$2 runtime from
  runtime=$(go env GOROOT)/src/runtime
  from=$runtime/$file
  shift 2
  for expression in "$@"; do
    sed -e "$expression" "$from" >"$dir/next.go" || return 1
    ! cmp -s "$from" "$dir/next.go" || return 1
    mv "$dir/next.go" "$dir/$file"
    from=$dir/$file
  done
  replaced+=("\"$runtime/$file\": \"$dir/$file\"")
}

# replace_runtime DIR writes DIR/overlay.json.
replace_runtime() {
  local dir=$1
  # A select begins with the channel that the virtual time says.
  if ! lay_over "$dir" select.go 's/^\t\tj := cheaprandn(uint32(norder + 1))$/&\n\t\tif b := getg().bubble; b != nil {\n\t\t\tj = uint32((uint64(b.now)*0x9e3779b97f4a7c15>>33 + uint64(i)) % uint64(norder+1))\n\t\t}/' ||
    # Timers of one instant keep the order that they have.
    ! lay_over "$dir" time.go 's/^\t\t\tt.rand = cheaprand()$/\t\t\tt.rand = 0/' ||
    # Maps are alike every time, and chance is drawn from virtual time.
    ! lay_over "$dir" rand.go '/^func maps_rand() uint64 {$/,/^}$/s/return rand()/return 0x9e3779b97f4a7c15/' \
      '/^func rand() uint64 {$/s/$/\n\tif b := getg().bubble; b != nil {\n\t\tbubbled++\n\t\treturn (uint64(b.now) + bubbled) * 0x9e3779b97f4a7c15\n\t}/' \
      's/^func maps_rand() uint64 {$/\/\/ bubbled counts what was drawn in this bubble.\nvar bubbled uint64\n\n&/' ||
    ! lay_over "$dir" synctest.go 's/^\tbubble.now = synctestBaseTime$/&\n\tbubbled = 0/' ||
    # Nobody is put back for having run, or been in the system, for long.
    ! lay_over "$dir" proc.go 's/^func retake(now int64) uint32 {$/&\n\tif now > 0 {\n\t\treturn 0\n\t}/'; then
    echo "This Go's runtime is another than scripts/simulation.sh knows: two runs of a seed may part." >&2
    replaced=()
  fi
  write_overlay "$dir"
}

# write_overlay DIR writes what is replaced into DIR/overlay.json.
write_overlay() {
  local IFS=,
  echo "{\"Replace\": {${replaced[*]}}}" >"$1/overlay.json"
}

# build_simulation DIR BINARY builds with DIR/overlay.json.
build_simulation() { go test -c -overlay "$1/overlay.json" -o "$2" ./internal/simulation; }

# run_simulation BINARY [FLAG...] lets the worlds live that the environment asks for.
run_simulation() {
  local binary=$1
  shift
  # The journals and the servers' database go where a sync costs nothing.
  local before=${TMPDIR:-}
  [ -w /dev/shm ] && [ "${before#/dev/shm}" = "$before" ] && local -x TMPDIR=/dev/shm
  # One thing at a time.
  (cd internal/simulation && GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1 "$binary" -test.run '^TestSimulation$' -test.timeout 24h "$@")
}
