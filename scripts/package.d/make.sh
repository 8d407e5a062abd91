# Building the packages; sourced by scripts/package, which sets what is used here.
# shellcheck shell=bash disable=SC2154

# checkout DIR makes a clean copy of the commit, with its history.
checkout() {
  mkdir -p "$(dirname "$1")"
  git clone --quiet --shared --no-checkout . "$1"
  git -C "$1" -c advice.detachedHead=false checkout --quiet "$commit"
}

# fill FILE NAME SHORT ARGS TPM RELOAD READY writes a template of the two packages for one of them.
fill() { sed -e "s|@NAME@|$2|g; s|@SHORT@|$3|g; s|@ARGS@|$4|g; s|@TPM@|$5|g; s|@RELOAD@|${6-}|g; s|@READY@|${7-}|g" "$1"; }

# How packages are made, where nobody says otherwise: whatever differs from place to place or from
# run to run is kept out of the programs.
flags=(-trimpath -buildvcs=true -buildmode=pie -ldflags '-s -w -buildid= -linkmode=external -extldflags "-Wl,-z,relro,-z,now"')

compression=gzip
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

# make_packages SRC VERSION DIR ROOT builds SRC, with ROOT to work in, and leaves the packages in DIR.
make_packages() {
  local src=$1 version=$2 dir=$3 root=$4
  local at=$src/scripts/package.d p day
  mkdir -p "$root/bin" "$dir"
  (cd "$src" && go build "${flags[@]}" -o "$root/bin/" ./cmd/usbkeyd ./cmd/usbkeyd-module ./cmd/usbkey-central)
  day=$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)
  fill "$at/service.init" usbkeyd "Turns approved orders into finished USB keys" "run --config /etc/usbkeyd/station.yaml" yes yes "" >"$root/usbkeyd.init"
  fill "$at/service.init" usbkey-central "Dispatches orders to issuing workstations" "serve --data /var/lib/usbkey-central" no no /var/lib/usbkey-central/addresses.json >"$root/usbkey-central.init"
  "$root/bin/usbkeyd" --config /etc/usbkeyd/station.yaml service unit --user usbkeyd >"$root/usbkeyd.service"
  for p in "${programs[@]}"; do
    local tpm=no
    [ $p != usbkeyd ] || tpm=yes
    for script in logrotate postinst prerm postrm; do fill "$at/service.$script" $p "" "" $tpm >"$root/$p.$script"; done
    "$root/bin/$p" man --date "$day" | gzip -9n >"$root/$p.1.gz"
    for shell in bash zsh fish; do "$root/bin/$p" completion $shell >"$root/$p.$shell"; done
    gzip -9n <"$src/CHANGELOG.md" >"$root/$p.changelog.gz"
    printf '%s (%s-1) unstable; urgency=medium\n\n  * Built from %s.\n  * What is new is in changelog.gz.\n\n -- %s  %s\n' \
      $p "$version" "$(git -C "$src" rev-parse HEAD)" "$DEB_MAINTAINER" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$root/$p.changelog.Debian.gz"
    (cd "$src" && licences "$root/bin/$p") >"$root/$p.copyright"
    DEB_LIBC=$(libraries "$root" $p) DEB_VERSION=$version-1 ROOT=$root SRC=$src \
      go run "$nfpm" package --config <(expand "$at/$p.yaml" "$root") --packager deb --target "$dir/" >"$root/nfpm.log" 2>&1 || { cat "$root/nfpm.log" >&2; fail "nfpm failed."; }
  done
}

# expand FILE ROOT puts the place of maintainer scripts in, and how the package is compressed, which
# nfpm does not by itself.
expand() { sed "s|\${ROOT}/\(usbkey[a-z-]*\.p[a-z]*\)$|$2/\1|; s|@COMPRESSION@|$compression|" "$1"; }

# libraries ROOT PROGRAM prints the package dependency for the libraries that it is linked to.
libraries() {
  mkdir -p "$1/debian"
  : >"$1/debian/control"
  (cd "$1" && dpkg-shlibdeps -O "bin/$2" 2>/dev/null) | sed -n 's/^shlibs:Depends=//p'
}

# licences PROGRAM prints the copyright file: ours, and of each module that is in the program.
licences() {
  local module version where file
  cat <<'TEXT'
usbkeyd, https://github.com/usbkeyd/usbkeyd

Copyright the usbkeyd authors

Licensed under the Apache License, Version 2.0. On Debian systems its full text is in
/usr/share/common-licenses/Apache-2.0.

The program contains Go's standard library and the modules below, each under its own licence.
TEXT
  while read -r module version where; do
    printf '\n---- %s %s\n\n' "$module" "$version"
    local found=no
    for file in "$where"/LICENSE* "$where"/LICENCE* "$where"/UNLICENSE* "$where"/COPYING* "$where"/NOTICE*; do
      [ -f "$file" ] || continue
      found=yes
      if grep -q 'Apache License' "$file" && grep -q 'Version 2.0, January 2004' "$file"; then
        echo "Apache License, Version 2.0: /usr/share/common-licenses/Apache-2.0"
      else
        tr -d '\r' <"$file"
      fi
    done
    [ $found = yes ] || fail "$module has no licence file."
  done < <(echo "Go $(go env GOVERSION) $(go env GOROOT)"; modules "$1")
}

# modules PROGRAM prints the modules that are in it: path, version and folder.
modules() {
  go version -m "$1" | awk '$1 == "dep" { print $2 }' | xargs go list -m -f '{{.Path}} {{.Version}} {{.Dir}}'
}

# make_zip SRC DIR builds the copy SRC for Windows and leaves the zip in DIR.
make_zip() {
  local src=$1 dir=$2 root=$1/windows
  local at=$root/usbkeyd
  mkdir -p "$at" "$dir"
  # libgcc and the threads of mingw-w64 are linked in: Windows has neither.
  (cd "$src" && GOOS=windows GOARCH=amd64 CC=x86_64-w64-mingw32-gcc go build -trimpath -buildvcs=true \
    -ldflags '-s -w -buildid= -linkmode=external -extldflags "-static -Wl,--no-insert-timestamp"' -o "$at/" ./cmd/usbkeyd ./cmd/usbkeyd-module)
  grep -aq "$commit" "$at/usbkeyd.exe" || fail "The program for Windows does not have its commit."
  (cd "$src" && licences "$at/usbkeyd.exe") >"$at/copyright.txt"
  cp "$src/LICENSE" "$src/NOTICE" "$at/"
  cp "$src/docs/examples/station.yaml" "$at/station.example.yaml"
  cp "$src/CHANGELOG.md" "$src/docs/install.md" "$at/"
  find "$at" -type f -exec chmod 644 {} + -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
  (cd "$root" && find usbkeyd -type f | LC_ALL=C sort | TZ=UTC zip -q -X -9 -@ "$dir/usbkeyd-windows-amd64.zip") || fail "zip failed."
}
