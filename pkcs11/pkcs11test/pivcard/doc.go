// Package pivcard is a virtual smart card: the PIV application (NIST SP 800-73-4)
// with those of Yubico's extensions that its PKCS#11 module and its tools need. It
// stands in for YubiKeys in tests and in the virtual USB rig.
//
// It owns what the card does with a command APDU, what it keeps when it is pulled, and
// how it talks to a virtual reader. It must not know which reader that is, or what
// PKCS#11 makes of it. Its keys are as secret as the memory of the process, or as the
// file that it is kept in: it is no place for real ones.
package pivcard
