// Package central is the reference central server of the dispatch contract: it
// takes approved orders, leases their units to stations, binds the keys that
// stations make, has them certified and takes the results.
//
// It owns the two HTTP listeners (stations with mutual TLS, administration on the
// loopback with a token), who may call what, the mapping of errors to problems,
// and the work that goes on in the background: calling the CA, ending leases.
// What it must not know: SQL (store), X.509 signing (ca, stationroot), the reading
// of the OpenAPI document (contract), the rules of an order (orders).
//
// The server in a program or a test:
//
//	srv, err := central.New(ctx, central.Config{DataDir: dir, StationAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0"})
//	srv.Start()
//	defer srv.Close()
//	admin, err := adminclient.New(srv.AdminURL(), srv.AdminToken())
package central
