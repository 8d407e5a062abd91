// Package stationserver is the strict server of the contract's station
// operations, generated from ../openapi.yaml.
package stationserver
