# Installs, runs, upgrades and removes the packages on this machine; sourced by
# scripts/package --try, which has made them. Whatever it makes is gone at the end.
# shellcheck shell=bash disable=SC2154

[ ! -d /run/systemd/system ] || fail "--try starts the services by their init scripts: run it where systemd does not run, in a container for example."
need softhsm2-util softhsm2 pkcs11-tool opensc openssl openssl jq jq unshare util-linux
for p in "${programs[@]}"; do
  # What is on this machine already belongs to somebody, and stays.
  if dpkg-query -W -f '${Status}' $p 2>/dev/null | grep -vq not-installed || getent passwd $p >/dev/null || [ -e /etc/$p ] || [ -e /var/lib/$p ] || [ -e /etc/init.d/$p ]; then
    fail "$p, or something of it, is on this machine already: --try wants one without."
  fi
done
module=/usr/lib/softhsm/libsofthsm2.so
[ -e $module ] || module=$(find /usr/lib -name libsofthsm2.so 2>/dev/null | head -n 1)

# apt with maintainer scripts that may start and stop services: many containers forbid it.
packages() {
  unshare --mount sh -c '[ ! -e /usr/sbin/policy-rc.d ] || mount --bind /bin/true /usr/sbin/policy-rc.d; exec "$@"' sh \
    env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root \
    -y --no-install-recommends "$@" >"$room/apt.log" 2>&1 </dev/null || { cat "$room/apt.log" >&2; return 1; }
}
clean() {
  local p
  for p in "${programs[@]}"; do
    [ ! -x /etc/init.d/$p ] || /etc/init.d/$p stop >/dev/null || true
    ! dpkg-query -W $p >/dev/null 2>&1 || packages purge $p || true
    rm -rf "/etc/${p:?}" "/var/lib/${p:?}" "/var/log/${p:?}"
    ! getent passwd $p >/dev/null || userdel $p
    ! getent group $p >/dev/null || groupdel $p
  done
}
trap 'clean; chmod -R u+w "$room" && rm -rf "$room"' EXIT

wrong=0
bad() { say "  WRONG $*"; wrong=$((wrong + 1)); }
# want SAYS COMMAND ...: what the command prints has a line that the pattern fits.
want() {
  local pattern=$1 said
  shift
  said=$("$@" 2>&1) || true
  grep -Eq -- "$pattern" <<<"$said" || bad "\"$*\" says: $said"
}
# count_links NAME: in how many runlevels it is started.
count_links() { find /etc/rc?.d -name "S??$1" | wc -l; }
daemon() { runuser -u usbkeyd -- usbkeyd "$@"; }
central() { runuser -u usbkey-central -- usbkey-central --data /var/lib/usbkey-central "$@"; }
# until_so SECONDS COMMAND ...: waits until the command succeeds.
until_so() {
  local n=$(($1 * 5))
  shift
  while ! "$@"; do
    n=$((n - 1))
    [ $n -gt 0 ] || return 1
    sleep 0.2
  done
}

say "Building a later version ..."
git -C "$room/a" -c user.name=try -c user.email=try@localhost commit --quiet --allow-empty --date "@$SOURCE_DATE_EPOCH" -m "Try an upgrade"
before=$commit
commit=$(git -C "$room/a" rev-parse HEAD)
make_packages "$room/a" "$version+1" "$room/later" "$room/a/root"

say "Installing $version ..."
packages install "$room"/first/*.deb
for p in "${programs[@]}"; do
  want "^$p .*${before:0:12}.* dispatch contract" $p version
  want "^built with .*-buildmode=pie.*-trimpath=true.*CGO_ENABLED=1" $p version
  want "^/usr/share/man/man1/$p\.1\.gz$" man -w $p
  want "^$p $p 700$" stat -c '%U %G %a' /var/lib/$p
  want "^ *complete -o" grep complete /usr/share/bash-completion/completions/$p
  want "is not running" /etc/init.d/$p status
  want "^ii " dpkg-query -W -f '${db:Status-Abbrev}\n' $p
done
# As it comes it is not complete, and says so: each field that is missing, and no other.
if daemon config check >"$room/check" 2>&1; then bad "config check takes the configuration as it comes"; elif [ $? -ne 5 ]; then bad "config check ends with another exit code than 5"; fi
missing=$(sed 's/^usbkeyd: [^ ]*: //' "$room/check" | sed -n 's/^\([a-z][A-Za-z.]*\): .*/\1/p' | sort | tr '\n' ' ')
[ "$missing" = "central.trust central.urls certificateTrust modules products recipients.soPin recipients.userPin station " ] || bad "config check names: $missing"
sed 's/^/  /' "$room/check" >&2

say "Starting the central server, and writing keys ..."
for who in pin officer-1 officer-2; do
  openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days 2 -subj "/CN=try $who" -addext keyUsage=critical,keyEncipherment \
    -keyout "$room/$who.key" -out "$room/$who.pem" 2>"$room/openssl.log"
  install -D -m 644 "$room/$who.pem" "/etc/usbkey-central/$who.pem"
done
options() {
  echo "OPTIONS=\"--listen $1 --admin-listen $2 --pin-recipient /etc/usbkey-central/pin.pem --so-pin-recipient /etc/usbkey-central/officer-1.pem --so-pin-recipient /etc/usbkey-central/officer-2.pem\"" >/etc/default/usbkey-central
}
addresses=/var/lib/usbkey-central/addresses.json
options 127.0.0.1:0 127.0.0.1:0
/etc/init.d/usbkey-central start >&2
until_so 30 test -s $addresses || { cat /var/log/usbkey-central/*.log >&2; fail "The central server did not start."; }
urls=$(jq -r .station $addresses)
# The same addresses from now on.
options "$(sed 's#^https://##; s#/.*##' <<<"$urls")" "$(jq -r .admin $addresses | sed 's#^http://##; s#/.*##')"
central station add try-1 --out /var/lib/usbkey-central/try-1 >/dev/null
for f in station.crt central-root.pem trust.pem; do install -m 644 /var/lib/usbkey-central/try-1/$f /etc/usbkeyd/$f; done
install -o usbkeyd -m 600 /var/lib/usbkey-central/try-1/station.key /etc/usbkeyd/station.key
fingerprint() { openssl x509 -in "$room/$1.pem" -outform DER | openssl dgst -sha256 -r | cut -d' ' -f1; }
{
  cat <<YAML
station: try-1
stateDir: /var/lib/usbkeyd
central: {urls: ["$urls"], trust: central-root.pem, certificate: station.crt, key: station.key}
identity: {tier: file}
recipients:
  userPin: [$(fingerprint pin)]
  soPin: [$(fingerprint officer-1), $(fingerprint officer-2)]
certificateTrust: trust.pem
products:
  - code: CERT272353
    # Such keys take long, so that an upgrade comes upon jobs that are half done.
    key: {algorithm: rsa4096}
    certificate:
      subject:
        - {type: O, value: "{{.Company.Name}}"}
        - {type: CN, value: "{{.UnitID}}"}
      keyUsage: [digitalSignature, contentCommitment]
      extKeyUsage: [clientAuth, emailProtection]
modules:
YAML
  for bay in 1 2 3 4; do
    install -d -o usbkeyd -g usbkeyd -m 700 /var/lib/usbkeyd/bay-$bay /var/lib/usbkeyd/bay-$bay/tokens
    printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' /var/lib/usbkeyd/bay-$bay/tokens >/etc/usbkeyd/bay-$bay.conf
    echo "  - {name: bay-$bay, path: $module, env: {SOFTHSM2_CONF: /etc/usbkeyd/bay-$bay.conf}}"
  done
} >/etc/usbkeyd/station.yaml
daemon config check >&2
jq '.quantity = 4 | .productCode = "CERT272353"' docs/examples/orders/sample-2026-0001.json >"$room/order.json"
central orders submit - <"$room/order.json" >&2
want "^0$" count_links usbkeyd # nobody has enabled it yet
update-rc.d usbkeyd enable
/etc/init.d/usbkeyd start >&2
until_so 30 grep -q '"usbkeyd starts"' /var/log/usbkeyd/usbkeyd.log || bad "it does not start"
/etc/init.d/usbkeyd reload >&2 || bad "reload fails"
until_so 30 grep -q "the configuration was read again" /var/log/usbkeyd/usbkeyd.log || bad "reload does not have the configuration read again"
want "restart it" /etc/init.d/usbkey-central reload
want "usbkey-central is running" /etc/init.d/usbkey-central status
unfinished() { daemon jobs list -o json | jq -e '[.[] | select(.state | IN("finished", "failed", "quarantined") | not)] | length >= 1' >/dev/null; }
until_so 60 unfinished || { cat /var/log/usbkeyd/usbkeyd.log >&2; fail "No job has begun."; }
/etc/init.d/usbkey-central stop >&2

say "Upgrading to $version+1 while jobs are half done and the central server is away ..."
packages install "$room"/later/*.deb
daemon jobs list >&2
parked=$(daemon jobs list -o json | jq '[.[] | select(.state | IN("finished", "failed", "quarantined") | not)] | length')
[ "$parked" -ge 1 ] || bad "no job was parked when it was upgraded"
for p in "${programs[@]}"; do want "^$p .*${commit:0:12}.* dispatch contract" $p version; done
want "usbkeyd is running" /etc/init.d/usbkeyd status
want "is not running" /etc/init.d/usbkey-central status # it did not run, so nobody started it
want "^4$" count_links usbkeyd
want "^0$" count_links usbkey-central
want '"usbkeyd ends".*"waiting":[1-9]' cat /var/log/usbkeyd/usbkeyd.log
want "\"usbkeyd starts\".*${commit:0:12}" cat /var/log/usbkeyd/usbkeyd.log
want "^station: try-1$" cat /etc/usbkeyd/station.yaml
/etc/init.d/usbkey-central start >&2
all_installed() { central units list -o json | jq -e '[.[] | select(.state == "INSTALLED")] | length == 4' >/dev/null; }
if until_so 120 all_installed; then say "$parked jobs went on after the upgrade, and all 4 units are INSTALLED."; else bad "not all units were written after the upgrade"; central units list >&2; fi
daemon doctor -o json >"$room/doctor.json" || { bad "doctor finds something wrong"; daemon doctor >&2 || true; }
want "^configuration identity central server" jq -r '[.[].check] | join(" ")' "$room/doctor.json"
for bay in 1 2 3 4; do
  label=$(SOFTHSM2_CONF=/etc/usbkeyd/bay-$bay.conf pkcs11-tool --module "$module" --list-slots 2>/dev/null | sed -n 's/^ *token label *: *//p' | grep -v '^(' | head -n 1)
  unit=$(central units list -o json | jq -r --arg l "$label" '.[] | select(.tokenLabel == $l) | .unitId')
  central units sealed-pin "$unit" --out /var/lib/usbkey-central/pin.p7m >/dev/null || { bad "bay $bay: no unit for $label"; continue; }
  PIN=$(openssl cms -decrypt -inform DER -in /var/lib/usbkey-central/pin.p7m -recip "$room/pin.pem" -inkey "$room/pin.key") \
    SOFTHSM2_CONF=/etc/usbkeyd/bay-$bay.conf pkcs11-tool --module "$module" --token-label "$label" --login --pin env:PIN --list-objects --type privkey 2>/dev/null |
    grep -q '^Private Key' || bad "bay $bay: $label does not open with the PIN that was delivered, or has no key"
  rm -f /var/lib/usbkey-central/pin.p7m
done

say "Removing, then purging ..."
list=$(dpkg -L "${programs[@]}" | sort -u)
packages remove "${programs[@]}"
for p in "${programs[@]}"; do ! pgrep -u $p >/dev/null || bad "$p still runs"; done
for f in /var/lib/usbkeyd/journal.db /var/lib/usbkeyd/journal.key /etc/usbkeyd/station.yaml /var/lib/usbkey-central/station-root/root.key; do [ -e $f ] || bad "remove took $f"; done
packages purge "${programs[@]}"
for p in "${programs[@]}"; do
  want "^/var/lib/$p is left" cat "$room/apt.log"
  ! dpkg-query -W $p >/dev/null 2>&1 || bad "dpkg still knows $p"
  for f in /var/log/$p /etc/init.d/$p /etc/default/$p /run/$p.pid; do [ ! -e $f ] || bad "purge left $f"; done
done
for f in /var/lib/usbkeyd/journal.db /var/lib/usbkeyd/journal.key /var/lib/usbkey-central/station-root/root.key; do [ -e $f ] || bad "purge took $f"; done
while IFS= read -r f; do [ -d "$f" ] || [ ! -e "$f" ] || bad "$f is left of the packages"; done <<<"$list"
find /etc/rc?.d -name '*usbkey*' | grep -q . && bad "purge left links to the init scripts"
clean
[ $wrong -eq 0 ] || fail "$wrong checks failed."
say "Installed, ran, upgraded, removed and purged: all checks hold, and nothing is left on this machine."
