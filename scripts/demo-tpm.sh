# What scripts/demo --tpm does otherwise: the station's keys are in a software TPM, PINs go
# out in letters, and afterwards others check what the station says. Sourced by it, never run.
# shellcheck shell=bash disable=SC2034,SC2154

need swtpm swtpm swtpm_setup swtpm-tools sqlite3 sqlite3
need_mailer
delivery=mailer
look_at_pins="the letters with the PINs, as they were printed"
room=$(mktemp -d /dev/shm/usbkeyd-demo.XXXXXX) # a short name, for sockets

# manufacture makes the first TPM, with an endorsement certificate of a maker of its own.
manufacture() {
  local maker=$out/tpm-maker
  mkdir -m 700 "$maker" "$out/tpm-1"
  printf '%s\n' "create_certs_tool = $(command -v swtpm_localca)" "create_certs_tool_config = $maker/ca.conf" \
    "create_certs_tool_options = $maker/options" 'active_pcr_banks = sha256' >"$maker/setup.conf"
  printf '%s\n' "statedir = $maker" "signingkey = $maker/signkey.pem" "issuercert = $maker/issuercert.pem" "certserial = $maker/certserial" >"$maker/ca.conf"
  printf '%s\n' '--platform-manufacturer sample' '--platform-version 1' '--platform-model sample' >"$maker/options"
  swtpm_setup --tpm2 --tpmstate "$out/tpm-1" --create-ek-cert --config "$maker/setup.conf" >"$maker/log" 2>&1 ||
    { cat "$maker/log" >&2; fail "The software TPM was not made."; }
  cat "$maker/swtpm-localca-rootca-cert.pem" "$maker/issuercert.pem" >"$out/tpm-maker.pem"
}
# power_on starts a TPM with the state in a folder; its device is unix:$room/NAME.
power_on() {
  mkdir -p -m 700 "$out/$1"
  swtpm socket --tpm2 --tpmstate "dir=$out/$1" --server "type=unixio,path=$room/$1" --ctrl "type=unixio,path=$room/$1.ctrl" \
    --flags not-need-init,startup-clear >"$out/$1.log" 2>&1 &
  started+=($!)
  for _ in $(seq 100); do [ -S "$room/$1" ] && return; sleep 0.1; done
  cat "$out/$1.log" >&2
  fail "The software TPM did not start."
}
say "Starting a software TPM, and a printer that prints to PDF ..."
manufacture
power_on tpm-1
believes=(--tpm-maker "$out/tpm-maker.pem")
mkfifo "$out/rig.in"
exec {desk}<>"$out/rig.in" # the printer would end with its input
bin/usbkey-rig --cards 0 --printer --ready "$out/rig.json" <&"$desk" >"$out/usbkey-rig.log" 2>&1 &
started+=($!)
for _ in $(seq 200); do [ -s "$out/rig.json" ] && break; kill -0 $! 2>/dev/null || break; sleep 0.1; done
[ -s "$out/rig.json" ] || { cat "$out/usbkey-rig.log" >&2; fail "The printer did not start."; }
printer() { jq -r ".printer.$1" "$out/rig.json"; }

admit() { central station invite demo-station --out "$out/station"; }
whose_yaml() {
  cat <<YAML
  certificate: station/station.crt
identity: {device: "unix:$room/tpm-1", recovery: [so-pin-recipient.pem, so-pin-recipient-2.pem]}
mailer: {printer: $(printer name), server: $(printer server), spool: $(printer spool)}
recipients:
YAML
}
enrol() {
  say "Enrolling the station by its TPM, whose maker the central server knows ..."
  daemon enroll --join-token-file "$out/station/join.token"
  rm "$out/station/join.token"
}
# deliver prints a unit's letter; another person has it in the hand and says so.
deliver() {
  daemon mailers print "$1" --by person-1 >>"$out/mailers.log"
  install -m 600 "$(printer sheet)" "$out/pins/$1.pdf"
  daemon mailers confirm "$1" --by person-2 >>"$out/mailers.log"
}
delivered() { pdftotext -layout "$out/pins/$1.pdf" - | grep -E '^ *([0-9] +){7}[0-9] *$' | tr -d ' '; }

# holds WHAT COMMAND ... says that it holds, if the command says so.
holds() {
  local what=$1
  shift
  if "$@" >>"$out/checked/proofs.log" 2>&1; then say "  $what"; else bad "does not hold" "$what"; fi
}
# refused WHAT CODE TEXT COMMAND ... wants the command to end so, and to say so.
refused() {
  local what=$1 code=$2 text=$3 got=0
  shift 3
  "$@" >"$out/checked/refused.txt" 2>&1 || got=$?
  if [ $got -eq "$code" ] && grep -qF "$text" "$out/checked/refused.txt"; then say "  $what"; else bad "is not refused" "$what: $(cat "$out/checked/refused.txt")"; fi
}
prove() {
  local unit
  unit=$(jq -r '.units[0].unitId' "$out/report.json")
  say "Letters:"
  holds "$tokens letters are printed once, confirmed and told to the central server" letters
  refused "the PIN of $unit is not printed a second time" 1 "may be on paper already" daemon mailers print "$unit" --by person-1
  say "Keys of the station:"
  holds "the central server knows it as a station with a TPM" enrolled
  holds "neither the station's key nor the journal's is in a file" no_key_file
  holds "each of the two recovery officers can open the journal's key with openssl" recovery
  stolen "$unit"
  say "Statements about finished keys:"
  mkdir "$out/evidence"
  holds "$tokens of them hold, for usbkeyd evidence verify and for openssl cms -verify" statements
  say "SO PIN in escrow:"
  holds "a recovery officer's key opens it with usbkeyd sopin open; with it a copy of the token of $unit gets another user PIN" escrow "$unit"
  say "Record:"
  holds "every entry is in a checkpoint that the central server has signed, for usbkeyd and for usbkey-central" record
  edited
}
letters() { # the daemon tells the central server who confirmed them
  daemon run --drain --log "$out/usbkeyd.log" && daemon mailers list -o json | tee "$out/mailers.json" |
    jq -e --argjson n "$tokens" 'length == $n and all(.state == "confirmed" and .sheets == 1 and (.refused // "") == "")'
}
enrolled() { central station list -o json | jq -e 'length == 1 and .[0].identity == "tpm"'; }
no_key_file() { [ -s "$out/state/journal.sealed" ] && [ ! -e "$out/state/journal.key" ] && [ -z "$(find "$out/state" "$out/station" -name '*.key')" ]; }
recovery() {
  local officer key keys=()
  for officer in so-pin-recipient so-pin-recipient-2; do
    key=$(openssl cms -decrypt -inform DER -in "$out/state/journal.recovery.p7m" -inkey "$out/$officer.key" | od -An -v -tx1 | tr -d ' \n') || return
    keys+=("$key")
  done
  [ ${#key} -eq 64 ] && [ "${keys[0]}" = "${keys[1]}" ] # 32 bytes
}
# carried_off FOLDER copies what the station has on its disk, to work at another place.
carried_off() {
  mkdir "$out/$1"
  cp -r "$out/state" "$out/station" "$out/trust.pem" "$out"/so-pin-recipient*.pem "$out/$1"
  sed "s#^stateDir: .*#stateDir: $out/$1/state#" "$out/station.yaml" >"$out/$1/station.yaml"
}
stolen() { # a copy of the disk opens with the station's TPM, and with no other
  carried_off stolen
  local thief=(bin/usbkeyd --config "$out/stolen/station.yaml")
  holds "a copy of the state folder opens with this TPM" "${thief[@]}" mailers preview "$1"
  power_on tpm-2
  sed -i "s#unix:$room/tpm-1#unix:$room/tpm-2#" "$out/stolen/station.yaml"
  refused "on another machine's TPM the copy does not open ..." 1 "this TPM did not make the key" "${thief[@]}" mailers preview "$1"
  refused "... and is no station" 1 "this TPM did not make the key" "${thief[@]}" run --drain --log -
}
statements() {
  local unit file
  for unit in $(jq -r '.units[].unitId' "$out/report.json"); do
    file=$out/evidence/$unit.p7s
    daemon evidence export "$unit" --out "$file" &&
      bin/usbkeyd evidence verify "$file" --trust "$out/station/central-root.pem" --certificate "$out/checked/$unit/leaf.pem" &&
      openssl cms -verify -inform DER -in "$file" -CAfile "$out/station/central-root.pem" -purpose any -no_check_time || return
  done
}
escrow() { # at a copy of the token
  local id sum label pin
  read -r id sum < <(central escrows list --unit "$1" -o json | jq -r '.[0] | "\(.escrowId) \(.sha256)"')
  label=$(jq -r --arg u "$1" '.units[] | select(.unitId == $u) | .tokenLabel' "$out/report.json")
  central escrows fetch "$id" --out "$out/escrow.p7m" &&
    pin=$(bin/usbkeyd sopin open --p7m "$out/escrow.p7m" --key "$out/so-pin-recipient.key" --sha256 "$sum") || return
  cp -r "$out/tokens" "$out/recovered"
  sed "s#$out/tokens#$out/recovered#" "$out/softhsm2.conf" >"$out/recovered.conf"
  local -x SOFTHSM2_CONF=$out/recovered.conf SOPIN=$pin FRESH=271828
  p11 --token-label "$label" --login --login-type so --so-pin env:SOPIN --init-pin --new-pin env:FRESH &&
    p11 --token-label "$label" --login --pin env:FRESH --list-objects --type privkey | grep -c '^Private Key'
}
record() {
  daemon audit verify -o json >"$out/record.json" && jq -e '.entries > 0 and .anchored == .entries' "$out/record.json" &&
    central audit verify --station demo-station
}
edited() { # one byte of one entry, in a copy
  carried_off edited
  local db=$out/edited/state/journal.db other=(bin/usbkeyd --config "$out/edited/station.yaml")
  holds "a copy of the state folder passes, too" "${other[@]}" audit verify
  holds "one byte of it is changed, in an entry about a finished key" [ "$(sqlite3 "$db" "
    UPDATE record SET line = replace(line, '\"generation\":1,', '\"generation\":2,')
      WHERE n = (SELECT max(n) FROM record WHERE line LIKE '%\"kind\":\"installed\"%'); SELECT changes()")" = 1 ]
  refused "and usbkeyd audit verify says so: $(broken_at "$db")" 6 "$(broken_at "$db")" "${other[@]}" audit verify
}
broken_at() { echo "the record is broken at entry $(sqlite3 "$1" "SELECT max(n) FROM record WHERE line LIKE '%\"kind\":\"installed\"%'")"; }
