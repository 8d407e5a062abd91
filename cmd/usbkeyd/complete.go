package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/provision"
)

// completionTime is how long somebody who has pressed Tab is kept waiting.
const completionTime = time.Second

// choice is a value that an argument may have, and what it is.
type choice struct{ value, what string }

// choices are asked for when somebody presses Tab. They come from where the command itself looks.
type choices func(ctx context.Context, c *cobra.Command) ([]choice, error)

// completions has a shell complete what is known. What is to be read off a key, a label, a letter
// or the page is not: a list to choose from would take the sense out of reading it.
func completions(root *cobra.Command, words wording.Words, load func() (*config.Station, error)) {
	journal := func(of func(*provision.Journal) ([]choice, error)) choices {
		return func(context.Context, *cobra.Command) ([]choice, error) { return readJournal(load, of) }
	}
	orders := journal(func(j *provision.Journal) (out []choice, err error) {
		records, err := j.All()
		for _, o := range ordersOf(records) {
			out = append(out, choice{o.OrderID, fmt.Sprintf("%s %d/%d", o.Company, o.Done, o.Of)})
		}
		return out, err
	})
	jobs := func(which func(*provision.Record) bool, name func(*provision.Record) string) choices {
		return journal(func(j *provision.Journal) (out []choice, err error) {
			records, err := j.All()
			for _, r := range slices.Backward(records) {
				if which(r) {
					out = append(out, choice{name(r), words.Name("is", string(r.State)) + " " + r.Job.Subject.Company.Name})
				}
			}
			return out, err
		})
	}
	all := func(*provision.Record) bool { return true }
	open := func(r *provision.Record) bool { return !r.State.Final() }
	done := func(r *provision.Record) bool { return r.State == provision.StateFinished }
	id := func(r *provision.Record) string { return r.Job.ID }
	unit := func(r *provision.Record) string { return r.Job.UnitID() }
	letters := journal(func(j *provision.Journal) (out []choice, err error) {
		rows, err := mailerRows(j)
		for _, r := range rows {
			out = append(out, choice{r.UnitID, words.Name("letter", r.State) + " " + r.Company})
		}
		return out, err
	})
	lots := journal(func(j *provision.Journal) (out []choice, err error) {
		tokens, err := j.Stock("")
		for _, l := range provision.Lots(tokens) {
			out = append(out, choice{l.Lot, fmt.Sprintf("%s × %d", l.Model, l.Delivered)})
		}
		return out, err
	})
	for path, from := range map[string]choices{
		"orders show": orders, "pack open": orders, "pack show": orders, "labels packing-list": orders, "labels shipping": orders,
		"labels print": orders, "labels token": orders,
		"jobs show": jobs(all, id), "jobs abandon": jobs(open, id), "evidence export": jobs(done, unit),
		"mailers preview": letters, "mailers print": letters, "mailers reprint": letters,
		"quarantine show": quarantined(words), "quarantine wipe": quarantined(words), "quarantine release": quarantined(words),
	} {
		most := 1
		if path == "labels shipping" {
			most = 1 << 10
		}
		command(root, path).ValidArgsFunction = from.complete(most)
	}
	command(root, "stock import").ValidArgsFunction = filesOf("csv")
	command(root, "evidence verify").ValidArgsFunction = filesOf("p7s")

	flags := map[string]cobra.CompletionFunc{
		"config": filesOf("yaml", "yml"), "output": fixed("table", "json"), "log-level": fixed("debug", "info", "warn", "error"),
		"lot": lots.complete(1), "unit": jobs(all, unit).complete(1), "p7m": filesOf("p7m"),
		"state": fixed(jobStates()...),
	}
	everyCommand(root, func(c *cobra.Command) {
		if c.ValidArgsFunction == nil && !c.HasSubCommands() {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { register(c, f.Name, flags[f.Name]) })
	})
	register(root, "config", flags["config"])
	for path, formats := range map[string][]string{"labels packing-list": {"html", "pdf"}, "labels token": {"html", "pdf"}, "labels shipping": {"csv", "json"}} {
		register(command(root, path), "format", fixed(formats...))
	}
}

// quarantined are the tokens in quarantine, as the daemon tells an account that may open the page.
func quarantined(words wording.Words) choices {
	return func(ctx context.Context, c *cobra.Command) (out []choice, err error) {
		socket, err := socketOf(c)
		if err != nil {
			return nil, err
		}
		all, err := console.AskIsolated(ctx, socket)
		for _, i := range all {
			row := newIsolatedRow(i)
			name := row.TokenSerial
			if name == "" {
				name = row.JobID
			}
			out = append(out, choice{name, words.Name("next", row.Next) + " " + row.UnitID})
		}
		return out, err
	}
}

// complete is how a shell asks, for so many arguments at most. Whatever is wrong, nothing is offered
// and nothing said: the line that somebody types is not the place for it.
func (from choices) complete(most int) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(contextOf(c)), completionTime)
		defer cancel()
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found := make(chan []choice, 1)
		go func() {
			all, err := from(ctx, c)
			if err != nil {
				all = nil
			}
			found <- all
		}()
		var out []cobra.Completion
		select {
		case <-ctx.Done():
		case all := <-found:
			for _, one := range all {
				if strings.HasPrefix(one.value, begun) && !slices.Contains(args, one.value) {
					out = append(out, cobra.CompletionWithDesc(one.value, one.what))
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// contextOf is that of a command, which cobra gives to none that is only asked for completions.
func contextOf(c *cobra.Command) context.Context {
	if ctx := c.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

func fixed(values ...cobra.Completion) cobra.CompletionFunc {
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
}

func filesOf(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}

// command is one by its words; all that are asked for are there, see TestCompletions.
func command(root *cobra.Command, path string) *cobra.Command {
	c, _, err := root.Find(strings.Fields(path))
	if err != nil {
		return &cobra.Command{}
	}
	return c
}

func everyCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, do)
	}
}

// register says how a flag is completed; nil leaves files to the shell.
func register(c *cobra.Command, flag string, how cobra.CompletionFunc) {
	if how != nil {
		_ = c.RegisterFlagCompletionFunc(flag, how) // the flag is there, and is registered once
	}
}
