// Package usbrig is a virtual USB hub: the PC/SC daemon in a place of its own, with
// virtual readers into which virtual PIV cards are put and from which they are pulled.
// What is above the daemon is the real thing: libpcsclite and a vendor's module.
//
// It owns the processes and files of the rig. It must not know what a card does.
//
// The readers' driver listens on every address of the machine, at random ports: no
// place for a card that matters.
package usbrig
