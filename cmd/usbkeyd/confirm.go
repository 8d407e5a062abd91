package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

// answerOptions are those of confirm and approve, which differ in whose word it is.
type answerOptions struct {
	streams
	approve bool
	socket  string
	yes     bool
}

func newConfirm(s streams) *cobra.Command {
	return newAnswer(&answerOptions{streams: s}, &cobra.Command{
		Use: "confirm CODE", Short: "Say once more that it is you who asked for something on the page",
		Long: `Say once more that it is you who asked for something on the page. Some acts are not
done on a click: the page shows a code, and this command, under your own account,
says that it was you. What the code is for is shown first, and done only after
you have typed yes. A code is good for two minutes.`,
	})
}

func newApprove(s streams) *cobra.Command {
	return newAnswer(&answerOptions{streams: s, approve: true}, &cobra.Command{
		Use: "approve CODE", Short: "Agree, as the second person, to what somebody asked for on the page",
		Long: `Agree, as the second person, to what somebody else asked for on the page. What
cannot be undone needs two people: the page of the first shows a code, and you give
your word under your own account. What the code is for is shown first, and counts
only after you have typed yes. The record names both. A code is good for two
minutes.`,
	})
}

func newAnswer(o *answerOptions, c *cobra.Command) *cobra.Command {
	c.Args = exactArgs(1, "the code that the page shows")
	c.RunE = func(c *cobra.Command, args []string) error { return o.run(c.Context(), args[0]) }
	socketFlag(c, &o.socket)
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask whether it is meant")
	return c
}

func socketFlag(c *cobra.Command, socket *string) {
	c.Flags().StringVar(socket, "socket", config.DefaultConsoleSocket, "the daemon's `socket`; if only --config is given, console.socket of that file")
	c.PreRunE = func(c *cobra.Command, _ []string) (err error) {
		*socket, err = socketOf(c)
		return err
	}
}

// socketOf is the socket at which a command asks. Operators need not be able to read a configuration:
// only one that they name is looked at, and of that no file that it names.
func socketOf(c *cobra.Command) (string, error) {
	socket, file := c.Flag("socket"), c.Flag("config")
	if socket.Changed || !file.Changed {
		return socket.Value.String(), nil
	}
	station, err := config.Read(file.Value.String())
	if err != nil {
		return "", &codeError{exitConfig, unread(file.Value.String(), err)}
	}
	return station.Console.Socket, nil
}

func (o *answerOptions) run(ctx context.Context, code string) error {
	act, err := console.SeeAct(ctx, o.socket, code)
	if err != nil {
		return unanswered(o.socket, err)
	}
	if _, err := o.words.Fprintf(o.out, "%s\n  asked for by %s\n  %s\n", output.Clean(o.words.Of(act.Says)), act.By, output.Clean(act.Exactly)); err != nil {
		return err
	}
	if !o.yes {
		if err := o.meant(); err != nil {
			return err
		}
	}
	if act, err = console.Respond(ctx, o.socket, act, o.approve); err != nil {
		return unanswered(o.socket, err)
	}
	return o.tell(ctx, o.socket, act)
}

// meant wants the word yes.
func (o *answerOptions) meant() error {
	if _, err := o.words.Fprintf(o.out, "Type yes if that is meant: "); err != nil {
		return err
	}
	line, err := bufio.NewReader(o.in).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		return errors.Join(errors.New("nothing was done"), err)
	}
	return nil
}

// tell follows an act that this account has given its word for, and says what became of it.
func (s streams) tell(ctx context.Context, socket string, act *console.ActView) error {
	act, err := console.Await(ctx, socket, act)
	if err != nil {
		return unanswered(socket, err)
	}
	switch {
	case act.Done:
		_, err = fmt.Fprintln(s.out, s.words.Of(act.State))
	case act.Over:
		err = errors.New(strings.TrimSpace(s.words.Of(act.State) + " " + output.Clean(s.words.Of(act.Why))))
	case act.Confirmed:
		_, err = s.words.Fprintf(s.out, "A second person has to approve, under an account of their own, within two minutes: usbkeyd approve %s\n", act.Code)
	default:
		_, err = s.words.Fprintf(s.out, "%s still has to confirm: usbkeyd confirm %s\n", act.By, act.Code)
	}
	return err
}

// unanswered says what is wrong when the daemon gave no answer at a socket.
func unanswered(socket string, err error) error {
	switch {
	case errors.Is(err, console.ErrRefused):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED): // the latter is left by one that was killed
		return fmt.Errorf("no usbkeyd with an operator's page answers at %s: is the service running (usbkeyd service status) and console.port set? Where console.socket is another path, give --socket PATH", socket)
	}
	return fmt.Errorf("usbkeyd does not answer: %w", err)
}
