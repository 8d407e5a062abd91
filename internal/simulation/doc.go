// Package simulation is a world in one process and in virtual time: stations, two central
// servers, a CA, tokens that people carry about and a network that loses what it is
// given, all driven by one seed. It is made of tests alone.
//
// It owns what the parts do to each other from outside, and the model of what must hold
// whatever happens. It must not know how the parts do their work: stations are package
// agent with the real pipeline and journal, the servers are internal/central on one
// store; only the network, the CA, the tokens and the clock are made up.
package simulation
