// Package crashmatrix kills usbkeyd and usbkey-central, real processes built with the
// tag crashpoints, before and after everything that they cannot take back, starts them
// again, and checks what must hold then. It is tests only; scripts/crash-matrix runs
// all of them, go test a fixed part. It must not know how anything is recovered.
package crashmatrix
