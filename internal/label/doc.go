// Package label makes what is stuck on keys and put into parcels: token labels and packing
// lists, as PDF for a printer and as HTML for a browser, and a shipment's data for the
// carrier's tool.
//
// It owns their layout. It must not know the journal, printers or PINs: nothing that it is
// given has room for one.
package label
