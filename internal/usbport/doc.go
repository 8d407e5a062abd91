// Package usbport says at which port of which hub a USB device was just plugged in, as the
// kernel tells it: the bus and the ports on the way, such as 1-2.3.
//
// It owns what such news looks like and whose is believed. It knows no token and no bay.
package usbport
