// Package stationload is a fleet of simulated stations that puts a load on a central
// server: each has a certificate and a connection of its own, polls for work, and
// takes units through their whole life by the contract, with keys and envelopes that
// were made beforehand, so that what is measured is the server.
//
// It owns what such a station says, how it comes back when it was cut off, and what is
// measured of it. It must not know how a server is started or keeps anything, nor what
// a real station does with tokens.
package stationload
