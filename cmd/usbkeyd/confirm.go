package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

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
	c.Flags().StringVar(socket, "socket", config.DefaultConsoleSocket, "the daemon's `socket`, console.socket in its configuration")
}

func (o *answerOptions) run(ctx context.Context, code string) error {
	act, err := console.SeeAct(ctx, o.socket, code)
	if err != nil {
		return unanswered(err)
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
		return unanswered(err)
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
		return unanswered(err)
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

// unanswered says what is wrong when the daemon gave no answer.
func unanswered(err error) error {
	switch {
	case errors.Is(err, console.ErrRefused):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no usbkeyd with an operator's page runs here: %w", err)
	}
	return fmt.Errorf("usbkeyd does not answer: %w", err)
}
