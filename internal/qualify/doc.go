// Package qualify finds out what a vendor's PKCS#11 module and one model of token
// can do, and what the daemon must be told to write them: a report in plain
// sentences and a token profile for the configuration.
//
// It owns what is asked of a token, in which order, what an answer means for the
// daemon, and the profile's text. It must not know in which process a module runs
// (a function that starts one is handed in), files, or the command line. A module
// that crashes or hangs under a question has answered it: the next question is put
// to a module that was started afresh.
//
// PINs are drawn at random. An SO PIN is made durable by the caller before the
// token gets it, because a token whose SO PIN is lost is lost, too.
package qualify
