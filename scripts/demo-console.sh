# What scripts/demo --console does otherwise: 16 bays of tokens as slow as real ones, two
# orders that are ready to be packed, and a station that goes on with the rest while one
# watches. Sourced by it, never run.
# shellcheck shell=bash disable=SC2034,SC2154

need_mailer
bays=16
keep=yes
samples=(docs/examples/orders/sample-2026-000[23].json)
socket=$out/console.sock
[ ${#socket} -le 100 ] || fail "--out $out: the name is too long for a socket in it; choose a shorter one"

say "Building a module that can be made slow ..."
gcc -O2 -shared -fPIC -fvisibility=hidden "-DMODULE=\"$module\"" -o "$out/shim.so" pkcs11/pkcs11test/shim/place/place.c pkcs11/pkcs11test/shim/*.c -ldl

# bay_yaml prints the module of a bay: SoftHSM behind the slow module, whose rules are empty
# until the two orders are there.
bay_yaml() {
  : >"$out/bays/$1/rules"
  printf '  - {name: %s, path: "%s", trust: owner, tokens: 1, env: {SOFTHSM2_CONF: "%s"}}\n' "$1" "$out/shim.so" "$out/bays/$1/softhsm2.conf"
}
# console_yaml lets whoever runs the demo do everything.
console_yaml() {
  local role roles=()
  for role in writer packer mailer supervisor auditor; do roles+=("$role: {users: [\"$(id -un)\"]}"); done
  printf 'console: {port: 8470, socket: "%s", roles: {%s}}\n' "$socket" "$(IFS=, && echo "${roles[*]}")"
}

# by_letter starts a printer that prints to PDF, and has the PINs of what follows go out in letters.
by_letter() {
  mkfifo "$out/printer.in"
  sleep infinity >"$out/printer.in" & # the printer would end with its input
  started+=($!)
  echo $! >"$out/printer-input.pid"
  bin/usbkey-rig --cards 0 --printer --ready "$out/printer.json" <"$out/printer.in" >"$out/usbkey-rig.log" 2>&1 &
  started+=($!)
  echo $! >"$out/usbkey-rig.pid"
  for _ in $(seq 200); do [ -s "$out/printer.json" ] && break; kill -0 $! 2>/dev/null || break; sleep 0.1; done
  [ -s "$out/printer.json" ] || { cat "$out/usbkey-rig.log" >&2; fail "The printer did not start."; }
  sed -i -e 's/userPin: {delivery: sealed}/userPin: {delivery: mailer}/' -e '/^  userPin: \[/d' "$out/station.yaml"
  jq -r '.printer | "mailer: {printer: \(.name), server: \(.server), spool: \(.spool)}"' "$out/printer.json" >>"$out/station.yaml"
}

# show makes the tokens slow, no two alike, has two fail, submits the orders that are worked on
# while the page is looked at, and starts the station.
show() {
  local i=0 rules
  by_letter
  for rules in "$out"/bays/*/rules; do
    i=$((i + 1))
    printf '%s\n' 'C_InitToken wait 2500' "C_GenerateKeyPair wait $((6000 + 900 * (i % 5)))" 'C_CreateObject wait 900' 'C_SetPIN wait 700' >"$rules.new"
    [ $i -ne 12 ] || sed -i 's/^C_GenerateKeyPair wait.*/C_GenerateKeyPair return 0x30/' "$rules.new" # CKR_DEVICE_ERROR
    [ $i -ne 10 ] || sed -i 's/^C_GenerateKeyPair wait.*/C_GenerateKeyPair return 0x31/' "$rules.new" # CKR_DEVICE_MEMORY
    mv "$rules.new" "$rules"
  done
  mkdir "$out/orders/next"
  jq '.quantity = 5 | .orderId = "SAMPLE-2026-0011"' "${samples[0]}" >"$out/orders/next/1.json"
  jq '.quantity = 3 | .orderId = "SAMPLE-2026-0012"' "${samples[1]}" >"$out/orders/next/2.json"
  central orders submit "$out"/orders/next/*.json
  central orders urgent SAMPLE-2026-0012 >/dev/null
  bin/usbkeyd --config "$out/station.yaml" run --log "$out/usbkeyd.log" >/dev/null 2>&1 &
  started+=($!)
  echo $! >"$out/usbkeyd.pid"
  for _ in $(seq 100); do [ -S "$socket" ] && break; kill -0 $! 2>/dev/null || break; sleep 0.1; done
  [ -S "$socket" ] || { tail -n 5 "$out/usbkeyd.log" >&2; fail "The station did not start."; }
}
# tell says where the page is, and how to go on from there.
tell() {
  cat <<TEXT

The station runs, with two orders to pack and two that it is writing; bay 12 has a bad token, that of bay 10 is full.
Open its page within a minute:
$(XDG_RUNTIME_DIR=$out bin/usbkeyd console --socket "$socket" --no-browser)
Later, or when the page has locked: bin/usbkeyd console --socket $socket
Pull the token of bay 3:    echo '* removed' >$out/bays/bay-03/rules
Put it in again:            : >$out/bays/bay-03/rules
TEXT
}
