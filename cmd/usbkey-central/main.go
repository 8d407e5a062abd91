// Command usbkey-central is the reference central server of the dispatch contract
// and the command line of those who run it. Here, and only here, its parts are
// wired together.
package main

import "os"

func main() {
	profiled()
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
