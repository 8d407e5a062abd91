// Package worker keeps a PKCS#11 module in a child process of its own: the same
// pkcs11.Module and pkcs11.Token, over a pipe, with a deadline on every call. A
// module that crashes or hangs costs its child, never this process.
//
// It owns the child: how it is started, confined, spoken to, killed and reaped.
// It must not know how a module is loaded; the program hands that in when it
// enters child mode, first thing in main (and in TestMain of tests):
//
//	worker.ServeIfChild(cryptoki.Open)
//
// The child is this same program, executed again, or a [Program] of its own that has
// nothing else in it and starts faster. It knows itself by its own
// name, argv[0], and not by its environment, which holds what the module's
// instance was given and two settings of the Go runtime. It holds no descriptor
// but its two pipes, leaves no core dump, cannot be traced, and ends when its
// pipe does: at once between calls; a call that is under way has the time that the
// parent would have given it, because a write that is cut off can leave a token
// unusable. A lock tells the next daemon when that is over. PINs reach it by the
// pipe alone.
//
// Frames are a four-byte length, big-endian, and at most 1 MiB of message.
package worker
