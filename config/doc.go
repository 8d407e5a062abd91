// Package config is a station's configuration: its defaults, its strict decoding
// from YAML and its validation.
//
// It owns the names, limits and defaults of every setting. It must not know the
// packages that are configured: values here are plain strings, numbers and
// durations, and whoever wires the program turns them into its own types. No
// environment variable changes anything.
//
//	station: demo-station            # name, [a-z0-9-]
//	stateDir: /var/lib/usbkeyd       # absolute
//	central:
//	  urls: [https://…]              # https only
//	  trust: central-root.pem        # roots of the server's TLS certificate
//	  certificate: station.crt       # the station's own; both appear when it enrols
//	  key: station.key               # mode 0600, in the tier file
//	identity:
//	  tier: tpm                      # or file, the lower one
//	  device: /dev/tpmrm0
//	  pcrs: []                       # 0 to 23; with any, recovery is needed
//	  recovery: [recovery.pem]
//	recipients:                      # SHA-256 of certificates that PINs may be sealed to
//	  userPin: […]
//	  soPin: […]
//	certificateTrust: trust.pem      # roots of the customers' CA
//	modules:                         # one process each
//	  - name: bay-01
//	    path: /usr/lib/softhsm/libsofthsm2.so
//	    env: {SOFTHSM2_CONF: /…}     # from AllowedEnvironment
//	    tokens: 1
//	tokenProfiles:                   # the first match wins; built-in ones come last
//	  - name: softhsm2
//	    match: {manufacturer: "SoftHSM project", model: "SoftHSM v2"}
//	    soPin: {length: 16, alphabet: digits}
//	    factorySoPinFile: …          # mode 0600, one line
//	    deadlines: {keyGeneration: 180s, init: 60s, call: 20s}
//	    omitAttributes: [CKA_…]
//	products:
//	  - code: CERT272353
//	    key: {algorithm: rsa2048}
//	    certificate:
//	      subject: [{type: CN, value: "{{.Company.Name}}", optional: false}, …]
//	      emailSan: "{{.Handler.Email}}"
//	      emailSanOptional: true
//	      mayAdd: []
//	      forbidden: []
//	      keyUsage: [digitalSignature, contentCommitment]
//	      extKeyUsage: [clientAuth, emailProtection]
//	      validityTolerance: 24h
//	      clockTolerance: 10m
//	    userPin: {length: 8, alphabet: digits, deny: [repeats, …], delivery: sealed}
//	    tokenLabel: "{{.UnitID}}"
//	mailer:                          # for products with delivery: mailer
//	  printer: letters
//	stock: {deliveredOnly: false}
//	console:                         # the operator's page; off without a port
//	  port: 8470
//	  roles: {writer: {groups: [key-writers]}}
//	packing: {waybills: ["SF[0-9]{12,13}"], verify: several}
//	journal: {keep: 9600h}           # what is done with; 0s for ever
//	labels: {size: 50x30, oneAtATime: false} # printed where a printer is named
//
// docs/configuration.md tells every key; docs/examples/station.yaml is a whole file.
//
// Reading goes in three steps. Parse decodes over the defaults and refuses what is
// not the wanted shape: an unknown or repeated key, a value of another type, null,
// a second document, anything after the end, anchors, aliases and tags, more than
// 1 MiB. It names line and column. Then relative paths are taken from the file's
// folder. Validate looks at every value and at the files that must be there, and
// reports all faults together, each with the path of its field, such as
// products[0].key.algorithm. Load does all of it.
package config
