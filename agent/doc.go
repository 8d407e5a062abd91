// Package agent is the daemon: it keeps the session with the central server,
// claims as many units as there are free tokens, hands each to a token, keeps the
// leases alive, and delivers the outbox.
//
// It owns when things happen and which token is used. It must not know what a
// step does (provision), how a module is loaded (pkcs11/worker), or how settings
// are written down (config). The wire's types (api) are turned into the domain's
// here, once, and nowhere else.
package agent
