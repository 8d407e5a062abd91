package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/qualify"
)

// print writes the report: JSON for programs, else what was found first and the
// profile last, where it can be copied from.
func (o *qualifyOptions) print(r *qualify.Report) error {
	if o.format == output.JSON {
		return o.streams.print(o.format, output.Rows{}, r)
	}
	var errs []error
	say := func(format string, args ...any) {
		_, err := fmt.Fprintln(o.out, output.Clean(o.words.Sprintf(format, args...)))
		errs = append(errs, err)
	}
	table := func(t output.Rows) {
		if len(t.Rows) > 0 {
			say("")
			errs = append(errs, o.streams.print(o.format, t, nil))
		}
	}
	m := r.Module
	say("%s, %s, library %s, Cryptoki %s", m.Manufacturer, m.Description, m.LibraryVersion, m.CryptokiVersion)
	if r.Destroyed != "" {
		say("In this run %s", r.Destroyed)
	}
	table(tokenTable(r.Tokens))
	table(findingTable(r.Findings))
	table(algorithmTable(r.Algorithms))
	table(timingTable(r.Timings))
	say("")
	if r.Subject != "" {
		say("Looked at closely: %s", r.Subject)
	}
	if r.State != "" {
		say("The token is left: %s", r.State)
	}
	say("Verdict: %s%s", r.Verdict, asFar(r))
	if r.ProfileYAML != "" {
		say("")
		_, err := fmt.Fprint(o.out, r.ProfileYAML)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// asFar says that reading shows less than half.
func asFar(r *qualify.Report) string {
	if r.State != "" || !r.Fit {
		return ""
	}
	return ", as far as reading shows; --write-token tries the rest"
}

func tokenTable(tokens []qualify.Token) output.Rows {
	t := output.Rows{Header: []string{"SLOT", "MANUFACTURER", "MODEL", "TOKEN SERIAL", "LABEL", "FLAGS", "PIN LENGTHS", "FIRMWARE"}}
	for _, k := range tokens {
		t.Rows = append(t.Rows, []string{k.Slot, k.Manufacturer, k.Model, k.Serial, k.Label, k.Flags, fmt.Sprintf("%d-%d", k.MinPIN, k.MaxPIN), k.Firmware})
	}
	return t
}

func findingTable(findings []qualify.Finding) output.Rows {
	t := output.Rows{Header: []string{"", "QUESTION", "FINDING"}}
	for _, f := range findings {
		t.Rows = append(t.Rows, []string{string(f.Severity), f.Probe, f.Text})
	}
	return t
}

func algorithmTable(algorithms []qualify.Algorithm) output.Rows {
	t := output.Rows{Header: []string{"KEY", "CLAIMED", "WORKS", "MADE BY", "CKA_ID", "LEFT OUT", "SECONDS (MIN / MEDIAN / MAX)"}}
	for _, a := range algorithms {
		works, took := "not tried", ""
		if a.Tried {
			works = yesNo(a.Works)
		}
		if g := a.Generation; g != nil {
			took = fmt.Sprintf("%.2f / %.2f / %.2f of %d", g.Min, g.Median, g.Max, g.Count)
		}
		t.Rows = append(t.Rows, []string{a.Name, yesNo(a.Claimed), works, a.Login, a.KeyID, strings.Join(a.Omit, " "), took})
	}
	return t
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func timingTable(timings []qualify.Timing) output.Rows {
	t := output.Rows{Header: []string{"CALL", "TIMES", "MIN", "MEDIAN", "MAX (MILLISECONDS)"}}
	for _, c := range timings {
		ms := func(seconds float64) string { return fmt.Sprintf("%.1f", 1000*seconds) }
		t.Rows = append(t.Rows, []string{c.Call, fmt.Sprint(c.Count), ms(c.Min), ms(c.Median), ms(c.Max)})
	}
	return t
}
