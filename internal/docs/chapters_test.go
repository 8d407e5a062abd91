//go:build rig && linux

package docs_test

// chapters are the documents in the order in which they are followed, on one machine: it is
// installed, works, is looked at from all sides, upgraded, and cleared.
func chapters() []chapter {
	return []chapter{{
		document: "docs/install.md",
		put: []string{
			"VERSION", "1.0-1",
			// As it is installed it is not complete.
			"usbkeyd config check", "usbkeyd config check && exit 1 || [ $? -eq 5 ]",
			"apt-get install ./usbkeyd_NEWER_amd64.deb", "",
		},
		before: []string{
			"install -m 644 pin.pem", recipients,
			"systemctl enable --now usbkey-central", "cp maker.pem /etc/usbkey-central; cat options >>/etc/default/usbkey-central",
			"install -m 644 carry/central-root.pem", "mv /var/lib/usbkey-central/carry .",
			"enroll", stationConfiguration,
			"orders submit", orders,
			"systemctl enable --now usbkeyd", "runuser -u usbkeyd -- usbkeyd doctor --bundle /tmp/bundle.zip",
		},
		after: finished,
	}, {
		document: "docs/runbook.md",
		put:      []string{"curl http", "curl -fsS http"},
		before:   []string{"jq -c", "cp /var/log/usbkeyd/usbkeyd.log usbkeyd.log; cp /var/log/usbkey-central/usbkey-central.log usbkey-central.log"},
		after: `jq -cR 'fromjson? | select(.unit == "SAMPLE-2026-0001-001")' usbkey-central.log | grep -q 'unit leased'
usbkeyd jobs list --state parked
usbkeyd jobs list --state failed
usbkeyd jobs show $(usbkeyd jobs list -o json | jq -r .[0].jobId)
systemctl status usbkeyd
systemctl reload usbkeyd
service usbkeyd reload
systemctl restart usbkeyd
service usbkeyd restart
usbkey-central --data central units history SAMPLE-2026-0001-001
`,
	}, {
		document: "docs/so-pins.md",
		put: []string{
			"--data DIR", "--data central", "16b6c3a2e1a2f7d0", "$serial", "ESCROW", "$escrow", "SHA-256-FROM-THE-LIST", "$sum",
		},
		before: []string{"escrows list", `
serial=$(usbkey-central --data central units list -o json | jq -r '[.[] | select(.state == "INSTALLED")][0].tokenSerial')
read -r escrow sum < <(usbkey-central --data central escrows list --token-serial $serial -o json | jq -r '.[0] | "\(.escrowId) \(.sha256)"')
cp officer-1.key officer.key`,
			// At the officer's machine nobody is the daemon's user.
			"sopin open", `usbkeyd() { /usr/bin/usbkeyd "$@"; }`},
	}, {
		document: "docs/stock.md",
		before: []string{"stock import", `cat >lot-2026-11.csv <<CSV
token_serial,casing_number,lot,model
A0000001,K-000001,LOT-2026-11,Card 3
A0000002,K-000002,LOT-2026-11,Card 3
CSV`},
	}, {
		document: "docs/quarantine.md",
		put:      []string{"A0000001", "$quarantined"},
		before: []string{"quarantine list", `
quarantined=$(usbkeyd jobs list --state quarantined -o json | jq -r .[0].tokenSerial)
usbkeyd() { runuser -u supervisor-a -- /usr/bin/usbkeyd "$@"; }`},
	}, {
		document: "docs/modules.md",
		put: []string{
			"/usr/lib/vendor/libtoken.so", "$module", "0123456789abcdef", "$fresh", "--factory-so-pin-file factory.pin", "--factory-so-pin-file factory.pin --key-generations 1 --algorithm ec-p256",
		},
		before: []string{"module qualify", `
module=$(find /usr/lib -name libsofthsm2.so | head -n 1)
softhsm2-util --init-token --free --label fresh --so-pin 87654321 --pin 123456
fresh=$(pkcs11-tool --module $module --list-slots 2>/dev/null | sed -n 's/^ *serial num *: *//p' | head -n 1)
(umask 077; echo 87654321 >factory.pin)
usbkeyd() { /usr/bin/usbkeyd "$@"; }`},
	}, {
		document: "docs/audit.md",
		before: []string{"audit export --checkpoint", `signed() { usbkeyd audit verify -o json | jq -e ".anchored == .entries" >/dev/null; }
await signed`},
		put: []string{
			"--admin-url …", "--admin-url $(jq -r .admin central/addresses.json)", "--token-file …", "--token-file central/admin.token",
			"--trust central-root.pem", "--trust carry/central-root.pem",
			"--installation ID", "--installation $(usbkey-central --data central audit verify --station bay-1 -o json | jq -r .[0].record | xargs basename)",
		},
	}, {
		document: "docs/evidence.md",
		before:   []string{"evidence export", `cp carry/central-root.pem .; certificate customer.pem`},
	}, {
		document: "docs/console.md",
		after: `runuser -u supervisor-a -- usbkeyd console --no-browser
runuser -u supervisor-a -- usbkeyd bays
runuser -u supervisor-a -- usbkeyd queue --socket /run/usbkeyd/console.sock
runuser -u supervisor-a -- usbkeyd console --socket /run/usbkeyd/console.sock --no-browser
usbkeyd orders list
usbkeyd orders show SAMPLE-2026-0001
usbkeyd today
usbkeyd search SAMPLE-2026-0001
`,
	}, {
		document: "docs/labels.md",
		after: `usbkeyd labels token SAMPLE-2026-0001-001 --format html >/tmp/label.html
usbkeyd labels packing-list SAMPLE-2026-0001 --format html >/tmp/list.html
usbkeyd labels shipping SAMPLE-2026-0001 --format csv >/tmp/shipping.csv
grep -q SAMPLE-2026-0001 /tmp/label.html && grep -q SAMPLE-2026-0001 /tmp/list.html && grep -q 示例 /tmp/shipping.csv
usbkeyd labels list
! usbkeyd labels set-aside A0000001 --by hand.1
usbkeyd mailers list
`,
	}, {
		document: "docs/packing.md",
		put:      []string{"--by ID", "--by hand.1"},
		before: []string{"pack leave-out", `
usbkeyd pack open SAMPLE-2026-0001 --by hand.1
usbkeyd pack undo --by hand.1
usbkeyd pack scan SAMPLE-2026-0001 --by hand.1
for serial in $(usbkeyd jobs list --state finished -o json | jq -r .[].tokenSerial); do usbkeyd pack scan $serial --by hand.1; done`},
		after: `usbkeyd pack undo --by hand.1
usbkeyd pack leave-out SAMPLE-2026-0001-003 --by hand.1
usbkeyd pack show
usbkeyd pack waybill SF1234567890123 --by hand.1
usbkeyd pack undo --by hand.1
usbkeyd pack scan SF1234567890123 --by hand.1
usbkeyd pack close --by hand.1
usbkeyd pack list --all
shipped() { [ $(usbkey-central --data central units list -o json | jq '[.[] | select(.state == "SHIPPED")] | length') = 2 ]; }
await shipped
`,
	}, {
		document: "docs/upgrade.md",
		put:      []string{"NEWER", "2.0-1"},
		before: []string{"apt-get install", `
dpkg-deb -R usbkeyd_1.0-1_amd64.deb newer
sed -i 's/^Version: .*/Version: 2.0-1/' newer/DEBIAN/control
dpkg-deb -Znone -b newer usbkeyd_2.0-1_amd64.deb`},
		after: "dpkg-query -W usbkeyd | grep -q 2.0-1\nservice usbkeyd status\n",
	}, {
		document: "docs/ca-adapters.md",
	}, {
		document: "docs/central-server.md",
		put: []string{
			"usbkey-central --data central-data serve --calendar calendar.txt", "serves central-data --calendar calendar.txt",
			"usbkey-central --data one serve", "serves one", "--listen :8443 --name one.example.com", "--name one.example.com",
			"postgres://central:PASSWORD@db.example.com/usbkey?sslmode=verify-full", "postgres:///usbkey?host=/run/postgresql&user=postgres",
		},
		before: []string{
			"calendar check", `usbkey-central calendar check --help | sed -n 's/^  \(year\|notice\|number\|issued\|source\|off\|work\) /\1 /p' >calendar.txt
printf 'off 2026-05-01 2026-05-05 劳动节\noff 2026-10-01 2026-10-07 国庆节\n' >>calendar.txt`,
			"createdb", `
postgres=$(find /usr/lib/postgresql -path '*/bin/initdb' -printf '%h\n' | sort -V | tail -n 1)
install -d -o postgres /run/postgresql /srv/postgres
export PGUSER=postgres
runuser -u postgres -- "$postgres/initdb" -D /srv/postgres --auth=trust >postgres.log
runuser -u postgres -- "$postgres/pg_ctl" -D /srv/postgres -w -o "-c listen_addresses=" start >>postgres.log`,
			// The store is put back to what it was before the server was started once more.
			"recover", `leave
createdb -T usbkey backup
serves one --store-file store.url
leave
dropdb usbkey
createdb -T backup usbkey`,
		},
		after: `leave
runuser -u postgres -- "$postgres/pg_ctl" -D /srv/postgres -m immediate stop
usbkey-central serve --help >/dev/null
usbkey-central --data central orders show SAMPLE-2026-0001
usbkey-central --data central orders hold SAMPLE-2026-0001
usbkey-central --data central orders release SAMPLE-2026-0001
usbkey-central --data central orders urgent SAMPLE-2026-0001
usbkey-central --data central orders not-urgent SAMPLE-2026-0001
usbkey-central --data central units sealed-pin SAMPLE-2026-0001-001 --out pin.p7m
usbkey-central --data central units return SAMPLE-2026-0001-001 --operator hand.1 --reason "it came back"
usbkey-central --data central units reissue SAMPLE-2026-0001-001 --operator hand.1 --reason "it came back"
usbkey-central --data central decisions list
usbkey-central --data central decisions approve $(usbkey-central --data central decisions list -o json | jq -r .[0].decisionId) --operator hand.2
usbkey-central --data central certificates list
usbkey-central --data central events list
usbkey-central --data central orders cancel SAMPLE-2026-0001 --operator hand.1 --reason "it is not wanted any more"
usbkey-central --data central station add bay-2 --out bay-2
usbkey-central --data central station drain bay-2
usbkey-central --data central station reset bay-2
usbkey-central --data central station revoke bay-2
`,
	}, {
		document: "docs/examples/orders/README.md",
		put:      []string{"usbkey-central serve --data central-data &", "serves orders-data", "central-data", "orders-data"},
	}, {
		document: "docs/ci.md",
		file:     "provision.sh",
		insert:   `"$dir/`,
	}, {
		document: "docs/identity.md",
		after: `service usbkeyd stop # it has the software TPM for itself
usbkeyd identity show
usbkey-central --data central station list
usbkey-central --data central station pending
usbkeyd tokens watch >/tmp/watched &
watching=$!
await grep -q bay-1 /tmp/watched
pkill -TERM -u usbkeyd -x usbkeyd
wait $watching
cp /var/lib/usbkeyd/journal.recovery.p7m .
openssl cms -decrypt -inform DER -in journal.recovery.p7m -inkey officer-1.key -out journal-key
chown usbkeyd journal-key
chmod 600 journal-key
usbkeyd state reseal --recovery-key journal-key
`,
	}, {
		document: "README.md",
		put: []string{
			// It would go on; a signal stops it cleanly.
			"usbkeyd --config station.yaml run\n", `usbkeyd --config station.yaml run >run.log 2>&1 &
running=$!
await grep -q "usbkeyd starts" run.log || cat run.log
pkill -TERM -u usbkeyd -x usbkeyd
wait $running
usbkeyd --config station.yaml run --drain --junit /tmp/junit.xml --log /tmp/usbkeyd.log --log-level debug
`,
		},
		before: []string{
			"config check", `
service usbkeyd stop
cp /etc/usbkeyd/*.pem .
sed /^console:/d /etc/usbkeyd/station.yaml >station.yaml
rm -rf carry
usbkey-central --data central station invite bay-1 --replace --out carry
chown -R usbkeyd carry
mv /var/lib/usbkeyd/enrolled.crt .`,
			"service install", `
cp /usr/bin/usbkeyd .
apt-get remove usbkeyd
apt-get purge usbkeyd
cp usbkeyd /usr/bin
cp station.yaml /etc/usbkeyd
usbkeyd() { /usr/bin/usbkeyd "$@"; }`,
		},
		after: `usbkeyd version
usbkeyd service status
usbkeyd service restart
usbkeyd service stop
usbkeyd service uninstall
`,
	}}
}

// recipients are those who may open PINs; a TPM and its maker, too, and the server's options.
const recipients = `
for who in pin officer-1 officer-2; do
  openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 2 -subj "/CN=$who" -addext keyUsage=critical,keyEncipherment -keyout $who.key -out $who.pem 2>openssl.log
done
mkdir -m 700 maker tpm
printf '%s\n' "create_certs_tool = $(command -v swtpm_localca)" "create_certs_tool_config = $PWD/maker/ca.conf" "create_certs_tool_options = $PWD/maker/options" 'active_pcr_banks = sha256' >maker/setup.conf
printf '%s\n' "statedir = $PWD/maker" "signingkey = $PWD/maker/signkey.pem" "issuercert = $PWD/maker/issuercert.pem" "certserial = $PWD/maker/certserial" >maker/ca.conf
printf '%s\n' '--platform-manufacturer sample' '--platform-version 1' '--platform-model sample' >maker/options
swtpm_setup --tpm2 --tpmstate tpm --create-ek-cert --config maker/setup.conf >maker/log 2>&1 || { cat maker/log; exit 1; }
cat maker/swtpm-localca-rootca-cert.pem maker/issuercert.pem >maker.pem
setsid swtpm socket --tpm2 --tpmstate dir=tpm --server type=unixio,path=/run/tpm,mode=0666 --ctrl type=unixio,path=/run/tpm.ctrl --flags not-need-init,startup-clear >swtpm.log 2>&1 </dev/null &
sed -n 's/^#OPTIONS="--listen 0.0.0.0:8443/OPTIONS="--tpm-maker \/etc\/usbkey-central\/maker.pem --listen 127.0.0.1:8443/p' /etc/default/usbkey-central >options
grep -q pin-recipient options
echo 127.0.0.1 central.example >>/etc/hosts
`

// stationConfiguration is what the reader fills in. Of the second product the CA adds a usage to the certificates
// that nobody ordered.
const stationConfiguration = `
useradd -m supervisor-a
cp officer-?.pem /etc/usbkeyd
fingerprint() { openssl x509 -in $1.pem -outform DER | openssl dgst -sha256 -r | cut -d' ' -f1; }
module=$(find /usr/lib -name libsofthsm2.so | head -n 1)
{
  cat <<YAML
station: bay-1
stateDir: /var/lib/usbkeyd
central: {urls: ["https://central.example:8443"], trust: central-root.pem, certificate: /var/lib/usbkeyd/enrolled.crt}
identity: {device: "unix:/run/tpm", recovery: [officer-1.pem, officer-2.pem]}
recipients: {userPin: [$(fingerprint pin)], soPin: [$(fingerprint officer-1), $(fingerprint officer-2)]}
certificateTrust: trust.pem
metrics: {port: 9464}
packing: {verify: never}
console: {port: 8470, roles: {supervisor: {users: [supervisor-a]}}}
products:
YAML
  for product in "CERT272353 [clientAuth, emailProtection]" "CERT-OTHER [clientAuth]"; do
    cat <<YAML
  - code: ${product%% *}
    key: {algorithm: ec-p256}
    certificate:
      subject:
        - {type: O, value: "{{.Company.Name}}"}
        - {type: CN, value: "{{.UnitID}}"}
      keyUsage: [digitalSignature, contentCommitment]
      extKeyUsage: ${product#* }
YAML
  done
  echo modules:
  for bay in 1 2 3; do
    install -d -o usbkeyd -g usbkeyd -m 700 /var/lib/usbkeyd/bay-$bay /var/lib/usbkeyd/bay-$bay/tokens
    printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' /var/lib/usbkeyd/bay-$bay/tokens >/etc/usbkeyd/bay-$bay.conf
    echo "  - {name: bay-$bay, path: $module, env: {SOFTHSM2_CONF: /etc/usbkeyd/bay-$bay.conf}}"
  done
} >/etc/usbkeyd/station.yaml
runuser -u usbkeyd -- usbkeyd config check
`

// orders are two: one ends in quarantine, the other has a unit more than there are tokens left.
const orders = `
order() { jq ".orderId = \"$1\" | .quantity = $2 | .productCode = \"$3\"" docs/examples/orders/sample-2026-0001.json; }
units() { usbkey-central --data central units list -o json | jq "[.[] | select(.state == \"$1\")] | length"; }
ln -s /var/lib/usbkey-central central
order SAMPLE-2026-0009 1 CERT-OTHER | usbkey-central --data central orders submit -
held() { [ $(units HELD) = 1 ]; }
await held
order SAMPLE-2026-0001 3 CERT272353 >order.json
`

const finished = `
installed() { [ $(units INSTALLED) = 2 ]; }
await installed
update-rc.d usbkey-central enable
update-rc.d usbkeyd enable
service usbkey-central start
service usbkeyd start
`

// prelude is what every chapter begins with: whatever looks at the station's state is run as the
// user usbkeyd, as install.md says.
const prelude = `cd /srv/reader
usbkeyd() { runuser -u usbkeyd -- /usr/bin/usbkeyd "$@"; }
await() { local n=0; until "$@"; do n=$((n + 1)); [ $n -lt 300 ] || { echo "waited too long for $1"; return 1; }; sleep 0.1; done; }
# serves FOLDER OPTION ...: a central server that is there when this ends, until leave, or the end of the document.
serves() {
  local data=$1
  shift
  leave
  usbkey-central serve --data $data --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --pin-recipient pin.pem --so-pin-recipient officer-1.pem --so-pin-recipient officer-2.pem "$@" >>$data.log 2>&1 </dev/null &
  server=$!
  there() { [ -s $data/addresses.json ]; }
  await there || { cat $data.log; return 1; }
}
server=
leave() { [ -z "$server" ] || { kill $server && wait $server; server=; }; }
trap leave EXIT
# certificate FILE: that of the first unit, from its token.
certificate() {
  local label=SAMPLE-2026-0001-001 conf
  for conf in /etc/usbkeyd/bay-?.conf; do
    ! SOFTHSM2_CONF=$conf pkcs11-tool --module $(find /usr/lib -name libsofthsm2.so | head -n 1) --token-label $label --read-object --type cert --label $label --output-file leaf.der >/dev/null 2>&1 || openssl x509 -inform DER -in leaf.der -out $1
  done
}
`
