// Package crashpoint names the moments at which a program may die: just before and
// just after each thing that it cannot take back. A program marks them with Before
// and After; a build with the tag crashpoints kills itself with SIGKILL at the one
// that its environment names, and writes down which ones it has passed. In every
// other build both functions are empty and nothing looks at the environment.
//
// It owns the complete list of labels of each program. It must not know what is
// done between the two moments.
package crashpoint
