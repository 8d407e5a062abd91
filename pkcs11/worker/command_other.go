//go:build !linux && !windows

package worker

import (
	"os"
	"os/exec"
)

func program() (string, error) { return os.Executable() }

// opened is a program by its path.
func opened(f *os.File) string { return f.Name() }

// handOver gives the child its two pipes.
func handOver(cmd *exec.Cmd, requests, responses *os.File) error {
	cmd.Stdin, cmd.Stdout = requests, responses
	return nil
}

// pipeArgs is how many arguments tell a child of its pipes: they are its standard ones.
const pipeArgs = 0

func exit(code int) { os.Exit(code) }

func ending(state *os.ProcessState) string { return state.String() }

// directory leaves a child where we are.
func directory() (string, error) { return "", nil }
