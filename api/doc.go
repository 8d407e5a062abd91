// Package api is the dispatch contract between stations and the central server:
// openapi.yaml, the types and the client generated from it, and the problem types
// of its errors. The strict servers of its two halves are generated into
// stationserver and adminserver.
//
// It owns the wire and nothing else: no rule of the business, no storage. What
// comes off the wire is turned into the domain's own types once, at the edge.
// The files ending in .gen.go are generated; edit openapi.yaml and run
// scripts/generate.
package api

import _ "embed"

// Document is openapi.yaml (OpenAPI 3). Who judges by it reads it: what reads such
// documents is large, and a station does not need it.
//
//go:embed openapi.yaml
var Document string

//go:generate go tool oapi-codegen -config codegen.yaml openapi.yaml
//go:generate go tool oapi-codegen -config stationserver/codegen.yaml openapi.yaml
//go:generate go tool oapi-codegen -config adminserver/codegen.yaml openapi.yaml
//go:generate go run ./reference ../docs/api.md
