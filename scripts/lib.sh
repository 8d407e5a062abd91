# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# need COMMAND-OR-FILE PACKAGE ... installs the Debian packages whose command or
# file is missing. As another user than root it asks before it uses sudo.
need() {
  local missing=()
  while [ $# -gt 0 ]; do
    case $1 in
      /*) [ -e "$1" ] || missing+=("$2") ;;
      *) command -v "$1" >/dev/null 2>&1 || missing+=("$2") ;;
    esac
    shift 2
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null 2>&1 || fail "Please install: ${missing[*]} (this is not a Debian system, so it cannot be done from here)"
  local as=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || fail "Please install as root: apt-get install ${missing[*]}"
    if [ -t 0 ]; then
      read -r -p "Install ${missing[*]} with sudo apt-get? [y/N] " answer
      [ "$answer" = y ] || [ "$answer" = Y ] || fail "Nothing was installed. Missing: ${missing[*]}"
    else
      fail "Missing: ${missing[*]}. Run: sudo apt-get install ${missing[*]}"
    fi
    as=(sudo)
  fi
  say "Installing ${missing[*]} ..."
  local log
  log=$(mktemp)
  if ! { "${as[@]}" apt-get update && "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    fail "The installation of ${missing[*]} failed."
  fi
  rm -f "$log"
}

# need_go finds Go, also where it is often unpacked to.
need_go() {
  command -v go >/dev/null 2>&1 || PATH=$PATH:/usr/local/go/bin
  command -v go >/dev/null 2>&1 || fail "Go is not installed. Version $(sed -n 's/^go //p' go.mod) or newer is needed: https://go.dev/doc/install"
}

# need_postgres installs PostgreSQL; tests and demo start servers of their own from it.
need_postgres() { [ -n "$(postgres_bin)" ] || need /usr/lib/postgresql/initdb postgresql; }

# postgres_bin prints where the programs of the newest PostgreSQL are.
postgres_bin() { find /usr/lib/postgresql -path '*/bin/initdb' -printf '%h\n' 2>/dev/null | sort -V | tail -n 1; }

# need_rig installs the parts of the virtual USB hub.
need_rig() {
  [ "$(id -u)" -eq 0 ] || fail "The virtual USB hub's PC/SC daemon gets a mount namespace of its own: run this as root."
  need /usr/sbin/pcscd pcscd /usr/lib/pcsc/drivers/serial/libifdvpcd.so vsmartcard-vpcd \
    "/usr/lib/$(uname -m)-linux-gnu/libykcs11.so.2" ykcs11 pkcs11-tool opensc
}

# need_mailer installs what PIN mailers are printed with, and read again in tests.
need_mailer() {
  need /usr/share/fonts/truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf fonts-lxgw-wenkai pdftotext poppler-utils \
    /usr/sbin/cupsd cups lp cups-client /usr/share/ppd/cupsfilters/Generic-PDF_Printer-PDF.ppd cups-filters gs ghostscript
}
